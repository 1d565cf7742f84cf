#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <vector>

#include "chela/v1/generation.grpc.pb.h"
#include "server/tools/commands.h"
#include "server/tools/document_splitter.h"

namespace chela {
namespace {

constexpr size_t kPieceBytes = 65536;
constexpr int kPollMs = 200;

// The documents of one text, one ScoreStream call each, and their totals.
class Scorer {
 public:
  Scorer(const ClientOptions& options, Interrupts& interrupts)
      : options_(options),
        interrupts_(interrupts),
        stub_(v1::GenerationService::NewStub(Connect(options))) {}

  // After a failed call both do nothing; status() says why.
  void AddText(std::string_view text) {
    while (!text.empty() && status_.ok()) {
      const size_t room = kPieceBytes - buffer_.size();
      buffer_.append(text.substr(0, room));
      text.remove_prefix(std::min(room, text.size()));
      if (buffer_.size() == kPieceBytes) Send();
    }
  }
  void EndDocument() {
    if (!buffer_.empty()) Send();
    if (call_ != nullptr) FinishCall();
  }

  const grpc::Status& status() const { return status_; }
  const v1::ScoreStreamResponse& totals() const { return totals_; }

 private:
  // A context is for one call, which ends before it.
  struct Call {
    Call(const ClientOptions& options, Interrupts& interrupts,
         v1::GenerationService::Stub& stub)
        : scope(interrupts, context) {
      Prepare(options, context);
      writer = stub.ScoreStream(&context, &response);
    }
    grpc::ClientContext context;
    Interrupts::Scope scope;
    v1::ScoreStreamResponse response;
    std::unique_ptr<grpc::ClientWriter<v1::ScoreStreamRequest>> writer;
  };

  void Send() {
    if (!status_.ok()) return;
    if (call_ == nullptr) {
      call_ = std::make_unique<Call>(options_, interrupts_, *stub_);
    }
    v1::ScoreStreamRequest request;
    request.set_text(std::move(buffer_));
    buffer_.clear();
    if (!call_->writer->Write(request)) FinishCall();
  }

  void FinishCall() {
    call_->writer->WritesDone();
    status_ = call_->writer->Finish();
    const v1::ScoreStreamResponse& one = call_->response;
    if (status_.ok()) {
      totals_.set_bytes(totals_.bytes() + one.bytes());
      totals_.set_tokens(totals_.tokens() + one.tokens());
      totals_.set_scored_tokens(totals_.scored_tokens() + one.scored_tokens());
      totals_.set_log_probability(totals_.log_probability() +
                                  one.log_probability());
    }
    call_.reset();
  }

  const ClientOptions& options_;
  Interrupts& interrupts_;
  std::unique_ptr<v1::GenerationService::Stub> stub_;
  std::unique_ptr<Call> call_;
  std::string buffer_;
  grpc::Status status_;
  v1::ScoreStreamResponse totals_;
};

// A bar on stderr, if a person looks at it and the size is known.
class Progress {
 public:
  explicit Progress(int fd) {
    struct stat facts = {};
    if (isatty(STDERR_FILENO) == 1 && fstat(fd, &facts) == 0 &&
        S_ISREG(facts.st_mode)) {
      total_ = facts.st_size;
    }
  }
  ~Progress() {
    if (shown_ >= 0) std::fprintf(stderr, "\r%60s\r", "");
  }
  void Add(int64_t bytes) {
    done_ += bytes;
    if (total_ <= 0) return;
    const auto percent = static_cast<int>(done_ * 100 / total_);
    if (percent == shown_) return;
    shown_ = percent;
    const std::string bar(static_cast<size_t>(percent) / 2, '#');
    std::fprintf(stderr, "\r[%-50s] %3d%%", bar.c_str(), percent);
  }

 private:
  int64_t total_ = 0;
  int64_t done_ = 0;
  int shown_ = -1;
};

// Waits for input, but not past an interrupt. Bytes read, 0 at the end, -1.
ssize_t ReadSome(int fd, std::vector<char>& buffer,
                 const Interrupts& interrupts) {
  pollfd input = {fd, POLLIN, 0};
  while (poll(&input, 1, kPollMs) == 0) {
    if (interrupts.seen()) return 0;
  }
  return read(fd, buffer.data(), buffer.size());
}

nlohmann::ordered_json ToJson(const v1::ScoreStreamResponse& totals) {
  const double nll = 0 - totals.log_probability();  // never -0
  const auto bytes = static_cast<double>(totals.bytes());
  const auto tokens = static_cast<double>(totals.scored_tokens());
  return {{"bytes", totals.bytes()},
          {"tokens", totals.scored_tokens()},
          {"nll_nats", nll},
          {"bits_per_byte", bytes > 0 ? nll / std::log(2.0) / bytes : 0},
          {"perplexity", tokens > 0 ? std::exp(nll / tokens) : 1}};
}

// False, and a line on stderr, if the input could not be read.
bool ScoreAll(int fd, Scorer& scorer, const Interrupts& interrupts) {
  DocumentSplitter splitter(
      [&](std::string_view text) { scorer.AddText(text); },
      [&] { scorer.EndDocument(); });
  Progress progress(fd);
  std::vector<char> buffer(kPieceBytes);
  while (scorer.status().ok()) {
    const ssize_t bytes = ReadSome(fd, buffer, interrupts);
    if (bytes < 0) {
      std::cerr << "chela-cli: cannot read the text: " << std::strerror(errno)
                << "\n";
      return false;
    }
    if (bytes == 0) break;
    splitter.Push({buffer.data(), static_cast<size_t>(bytes)});
    progress.Add(bytes);
  }
  splitter.Finish();
  scorer.EndDocument();
  return true;
}

}  // namespace

int RunScore(const ClientOptions& options, const std::string& text_file,
             Interrupts& interrupts) {
  const int fd = text_file.empty()
                     ? STDIN_FILENO
                     : open(text_file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    std::cerr << "chela-cli: --text-file: " << text_file << ": "
              << std::strerror(errno) << "\n";
    return 1;
  }
  Scorer scorer(options, interrupts);
  const bool read_all = ScoreAll(fd, scorer, interrupts);
  if (!text_file.empty()) close(fd);
  if (!read_all) return 1;
  if (!scorer.status().ok()) return Report(scorer.status());
  if (interrupts.seen()) {
    std::cerr << "chela-cli: CANCELLED: interrupted\n";
    return 1;
  }
  const nlohmann::ordered_json result = ToJson(scorer.totals());
  if (options.json) return PrintJson(result) ? 0 : 1;
  std::string lines;
  for (const auto& [key, value] : result.items()) {
    lines += key + ": " + value.dump() + "\n";
  }
  return Print(lines) ? 0 : 1;
}

}  // namespace chela
