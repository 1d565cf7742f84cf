#include "kernels/cpu/fft.h"

#include <cmath>
#include <complex>
#include <cstdint>
#include <numbers>
#include <vector>

#include "kernels/cpu/choose_kernels.h"
#include "kernels/cpu/kernel_table.h"
#include "tests/support/kernel_test.h"

namespace chela {
namespace {

using Number = std::complex<double>;
constexpr int64_t kLanesOf = kGroupChannels;

int Depths(int64_t size) {
  return static_cast<int>(std::lround(std::log2(static_cast<double>(size))));
}

std::vector<float> Narrow(const std::vector<double>& wide) {
  return {wide.begin(), wide.end()};
}

// rho_k of fft.h, by its recursion.
Number Root(int64_t size, int64_t k) {
  double angle = std::numbers::pi / 2;
  for (int bit = Depths(size) - 1; bit >= 0; --bit) {
    angle = angle / 2 + ((k >> bit & 1) != 0 ? std::numbers::pi : 0.0);
  }
  return std::polar(1.0, angle);
}

// sum_n x_n z^n.
Number Evaluate(const std::vector<Number>& x, Number z) {
  Number sum = 0;
  for (auto n = x.rbegin(); n != x.rend(); ++n) sum = sum * z + *n;
  return sum;
}

TEST(TwiddlesTest, ArePowersOfTheFourthRootOfTheirBlocks) {
  const int depths = 6;
  const std::vector<double> twiddles = MakeTwiddles(depths);
  ASSERT_EQ(twiddles.size(), kTwiddleElements * ((size_t{1} << depths) - 1));
  for (int depth = 0; depth < depths; ++depth) {
    for (int64_t node = 0; node < int64_t{1} << depth; ++node) {
      const double* t =
          &twiddles[kTwiddleElements * ((int64_t{1} << depth) - 1 + node)];
      const Number w(t[0], t[1]);
      EXPECT_NEAR(std::abs(w * w * w * w - Root(int64_t{1} << depth, node)), 0,
                  1e-14);
      EXPECT_NEAR(std::abs(w * w - Number(t[2], t[3])), 0, 1e-14);
      EXPECT_NEAR(std::abs(w * w * w - Number(t[4], t[5])), 0, 1e-14);
    }
  }
}

TEST(TwiddlesTest, RootsAreAllTheRootsOfTheModulus) {
  const int64_t size = 32;
  for (int64_t k = 0; k < size; ++k) {
    const Number rho = Root(size, k);
    EXPECT_NEAR(std::abs(std::pow(rho, size) - Number(0, 1)), 0, 1e-12);
    for (int64_t other = 0; other < k; ++other) {
      EXPECT_GT(std::abs(rho - Root(size, other)), 0.1);
    }
  }
}

class FftTest : public KernelTest {
 protected:
  const CpuKernelTable& kernels() const {
    return ChooseKernels(GetParam().options.max_kernels);
  }

  // Spectra of taps [2U, lanes], as an explicit kernel makes them.
  std::vector<float> Spectrum(int64_t size,
                              const std::vector<float>& taps) const {
    const auto twiddles = MakeTwiddles(Depths(size));
    std::vector<double> rows(2 * size * kLanesOf);
    for (int64_t n = 0; n < size; ++n) {
      for (int64_t lane = 0; lane < kLanesOf; ++lane) {
        double* row = &rows[2 * n * kLanesOf + lane];
        row[0] = taps[n * kLanesOf + lane] / static_cast<double>(size);
        row[kLanesOf] =
            taps[(size + n) * kLanesOf + lane] / static_cast<double>(size);
      }
    }
    kernels().fft_block({size, twiddles.data(), rows.data()});
    return Narrow(rows);
  }

  // Runs a tile; y holds what it starts from.
  void RunTile(int64_t size, const std::vector<float>& taps,
               const std::vector<float>& x, bool add, std::vector<float>* y) {
    const auto spectrum = Spectrum(size, taps);
    const auto twiddles = Narrow(MakeTwiddles(Depths(size)));
    std::vector<float> work(2 * size * kLanesOf, kPoison);
    kernels().fft_tile({size, twiddles.data(), spectrum.data(), x.data(),
                        work.data(), y->data(), add});
  }
};

TEST_P(FftTest, TransformsAreTheValuesAtTheRoots) {
  for (const int64_t size : {4, 8, 16, 32, 64, 128, 256, 512}) {
    SCOPED_TRACE(size);
    const auto random = RandomFloats(2 * size * kLanesOf, -1, 1, 1);
    std::vector<double> rows(random.begin(), random.end());
    const auto twiddles = MakeTwiddles(Depths(size));
    kernels().fft_block({size, twiddles.data(), rows.data()});
    for (const int64_t lane : {0, 5, 15}) {
      std::vector<Number> x;
      for (int64_t n = 0; n < size; ++n) {
        x.emplace_back(random[2 * n * kLanesOf + lane],
                       random[(2 * n + 1) * kLanesOf + lane]);
      }
      for (int64_t k = 0; k < size; ++k) {
        const Number got(rows[2 * k * kLanesOf + lane],
                         rows[(2 * k + 1) * kLanesOf + lane]);
        // Horner's rule rounds twice a term.
        ASSERT_NEAR(std::abs(got - Evaluate(x, Root(size, k))), 0,
                    1e-15 * static_cast<double>(size * size))
            << "lane " << lane << ", value " << k;
      }
    }
  }
}

TEST_P(FftTest, ATileIsTheMiddleThirdOfTheProduct) {
  for (const int64_t size : {4, 8, 32, 64, 128, 256, 1024, 2048}) {
    SCOPED_TRACE(size);
    const auto taps = RandomFloats(2 * size * kLanesOf, -1, 1, 1);
    const auto x = RandomFloats(size * kLanesOf, -1, 1, 2);
    std::vector<float> y(size * kLanesOf, kPoison);
    RunTile(size, taps, x, /*add=*/false, &y);
    double off = 0;
    double scale = 0;
    for (const int64_t lane : {0, 3, 15}) {
      for (int64_t n = 0; n < size; ++n) {
        double want = 0;
        for (int64_t j = 0; j < size; ++j) {
          want += double{x[j * kLanesOf + lane]} *
                  taps[(size + n - j) * kLanesOf + lane];
        }
        off += std::pow(y[n * kLanesOf + lane] - want, 2);
        scale += want * want;
      }
    }
    // Root mean square: each of the two transforms adds about half a unit in
    // the last place a stage, the spectrum and the product one more.
    const double units = 2.0 * Depths(size) + 4;
    EXPECT_LE(std::sqrt(off / scale), units * 0x1p-24);
  }
}

TEST_P(FftTest, ATileAddsToWhatIsThereIfAsked) {
  const int64_t size = 64;
  const auto taps = RandomFloats(2 * size * kLanesOf, -1, 1, 1);
  const auto x = RandomFloats(size * kLanesOf, -1, 1, 2);
  const auto start = RandomFloats(size * kLanesOf, -1, 1, 3);
  std::vector<float> alone(size * kLanesOf, kPoison);
  std::vector<float> added = start;
  RunTile(size, taps, x, /*add=*/false, &alone);
  RunTile(size, taps, x, /*add=*/true, &added);
  for (size_t i = 0; i < start.size(); ++i) {
    ASSERT_EQ(added[i], start[i] + alone[i]) << i;
  }
}

TEST_P(FftTest, ATileMayReplaceItsInputs) {
  const int64_t size = 128;
  const auto taps = RandomFloats(2 * size * kLanesOf, -1, 1, 1);
  const auto x = RandomFloats(size * kLanesOf, -1, 1, 2);
  std::vector<float> apart(size * kLanesOf, kPoison);
  RunTile(size, taps, x, /*add=*/false, &apart);
  std::vector<float> in_place = x;
  const auto spectrum = Spectrum(size, taps);
  const auto twiddles = Narrow(MakeTwiddles(Depths(size)));
  std::vector<float> work(2 * size * kLanesOf, kPoison);
  kernels().fft_tile({size, twiddles.data(), spectrum.data(), in_place.data(),
                      work.data(), in_place.data(), false});
  ExpectSameBits(in_place, apart);
}

TEST_P(FftTest, ALaneSeesNoOtherLane) {
  const int64_t size = 32;
  const auto taps = RandomFloats(2 * size * kLanesOf, -1, 1, 1);
  const auto x = RandomFloats(size * kLanesOf, -1, 1, 2);
  std::vector<float> want(size * kLanesOf, kPoison);
  RunTile(size, taps, x, /*add=*/false, &want);
  for (int64_t poisoned = 0; poisoned < kLanesOf; ++poisoned) {
    std::vector<float> other = x;
    for (int64_t n = 0; n < size; ++n) other[n * kLanesOf + poisoned] = kPoison;
    std::vector<float> y(size * kLanesOf, 0.0f);
    RunTile(size, taps, other, /*add=*/false, &y);
    for (int64_t i = 0; i < size * kLanesOf; ++i) {
      if (i % kLanesOf == poisoned) continue;
      ASSERT_EQ(y[i], want[i]) << "lane " << i % kLanesOf;
    }
  }
}

TEST_P(FftTest, ATableOfMoreDepthsServesSmallerSizes) {
  const int64_t size = 32;
  const auto random = RandomFloats(2 * size * kLanesOf, -1, 1, 1);
  std::vector<double> exact(random.begin(), random.end());
  std::vector<double> larger = exact;
  const auto own = MakeTwiddles(5);
  const auto table = MakeTwiddles(9);
  kernels().fft_block({size, own.data(), exact.data()});
  kernels().fft_block({size, table.data(), larger.data()});
  EXPECT_EQ(exact, larger);
}

CHELA_ON_EVERY_CPU_BACKEND(FftTest);

}  // namespace
}  // namespace chela
