#include "kernels/cuda/hierarchical_history.cu"
namespace h { }
#include "kernels/cuda/hierarchical_chunks_emu.cc"
namespace chela::cuda { namespace { constexpr int kGroups=8;
#include "oracle.inc"
} }
#include <random>
#include <cstdio>
#include <cstring>
using namespace chela; using namespace chela::cuda;
int main(){
  std::mt19937 r(1); auto rnd=[&]{ return (float)((int)(r()>>8)-(1<<23))/(1<<23); };
  int bad=0, cases=0;
  for(auto [B,S]: std::vector<std::pair<int,int>>{{16,9},{4,8},{6,7},{16,2},{8,12},{32,7}}){
    const int W=3; const int half=B/2; const int64_t rows=B+S*(half+2);
    std::vector<float> t0(B*W),tp(S*half*W),sk(W); for(auto*v:{&t0,&tp,&sk})for(auto&x:*v)x=rnd();
    const int T=3000;
    for(auto cuts: std::vector<std::vector<int>>{{T},{256},{300,1,2,700},{64},{1023,130},{2,511,1025}}){
      // two sequences side by side: the second lags behind by one chunk
      std::vector<float> a(T*W); for(auto&x:a)x=rnd();
      std::vector<float> sa(rows*W,NAN), sb(rows*W,NAN), ca(T*W,0), cb(T*W,NAN);
      int64_t pos=0; size_t ci=0;
      while(pos<T){ int n=std::min<int64_t>(cuts[ci%cuts.size()],T-pos); ci++;
        HierarchicalConvolution op; op.width=W;op.base_length=B;op.levels=S;op.taps0=t0.data();op.taps=tp.data();op.skip=sk.data();
        op.a=a.data()+pos*W; op.c=ca.data()+pos*W; op.state={sa.data(),rows*W};
        Chunk ch; ch.position=pos; ch.slot=0; ch.first_row=0; ch.rows=n;
        for(int c=0;c<W;c++){ ChannelState st{sa.data()+c,W}; RunChunk(op,ch,st,c); }
        op.c=cb.data()+pos*W; op.state={sb.data(),rows*W};
        ChunkList l; l.chunks=&ch;l.count=1;l.longest=n;
        std::vector<float> hist(HistoryFloats(op,n,1)+16,NAN); std::vector<float> guard(hist.end()-16,hist.end());
        LaunchChunks(op,l,hist.data(),nullptr);
        for(int i=0;i<16;i++) if(!std::isnan(hist[hist.size()-16+i])) {bad++; printf("overrun\n");}
        pos+=n;
        cases++;
        if(memcmp(sa.data(),sb.data(),sa.size()*4)) { for(size_t i=0;i<sa.size();i++) if(memcmp(&sa[i],&sb[i],4)){ printf("state B%d S%d pos %ld row %zu: %g %g\n",B,S,(long)pos,i/W,sa[i],sb[i]); break;} bad++; break; }
      }
      for(int i=0;i<T*W;i++) if(memcmp(&ca[i],&cb[i],4)){ printf("c B%d S%d t %d: %g %g\n",B,S,i/W,ca[i],cb[i]); bad++; break; }
    }
    printf("B %d S %d done, bad %d of %d\n",B,S,bad,cases); fflush(stdout);
  }
}
