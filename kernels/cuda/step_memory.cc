#include "kernels/cuda/step_memory.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/status_macros.h"

namespace chela::cuda {
namespace {

// The counts stand first: decode rows, logits rows, all rows.
constexpr size_t kCountsBytes = 16;
constexpr size_t kLogitsCount = 1;
constexpr size_t kRowCount = 2;
constexpr int64_t kLeastRows = 8;
constexpr size_t kLeastListEntries = 4096;

}  // namespace

// The chunks stand last, since most steps have none. Everything is laid out for
// layout_rows_, so that a small step is a small copy.
size_t StepMemory::ListBytes() const {
  return static_cast<size_t>(layout_rows_) * sizeof(int32_t);
}
size_t StepMemory::RowsAt() const {
  return kCountsBytes + static_cast<size_t>(layout_rows_) * sizeof(int64_t);
}
size_t StepMemory::SlotsAt() const { return RowsAt() + ListBytes(); }
size_t StepMemory::TokensAt() const { return SlotsAt() + ListBytes(); }
size_t StepMemory::LogitsAt() const { return TokensAt() + ListBytes(); }
size_t StepMemory::DrawsAt() const { return LogitsAt() + ListBytes(); }
size_t StepMemory::ChunksAt() const {
  return DrawsAt() + static_cast<size_t>(layout_rows_) * sizeof(DrawRule);
}
size_t StepMemory::EndAt() const {
  return ChunksAt() + static_cast<size_t>(layout_rows_) * sizeof(Chunk);
}

StepMemory::~StepMemory() {
  for (const Staging& staging : staging_) {
    if (staging.done != nullptr) cudaEventDestroy(staging.done);
  }
}

absl::Status StepMemory::Grow(int64_t rows) {
  layout_rows_ = static_cast<int64_t>(std::bit_ceil(
      static_cast<uint64_t>(std::max<int64_t>(rows, kLeastRows))));
  if (layout_rows_ <= capacity_) return absl::OkStatus();
  capacity_ = layout_rows_;
  ++generation_;
  absl::StatusOr<DeviceBuffer> device = DeviceBuffer::Allocate(EndAt());
  if (!device.ok()) return device.status();
  device_ = *std::move(device);
  for (Staging& staging : staging_) {
    CHELA_RETURN_IF_ERROR(Renew(staging, &staging.memory, EndAt()));
    if (staging.done != nullptr) continue;
    CHELA_RETURN_IF_ERROR(CudaStatus(
        cudaEventCreateWithFlags(&staging.done, cudaEventDisableTiming),
        "make an event"));
  }
  return absl::OkStatus();
}

absl::Status StepMemory::Renew(Staging& staging, PinnedBuffer* buffer,
                               size_t bytes) {
  absl::StatusOr<PinnedBuffer> memory = PinnedBuffer::Allocate(bytes);
  if (!memory.ok()) return memory.status();
  if (staging.used) {
    CHELA_RETURN_IF_ERROR(
        CudaStatus(cudaEventSynchronize(staging.done), "wait for a copy"));
  }
  *buffer = *std::move(memory);
  staging.used = false;
  return absl::OkStatus();
}

absl::Status StepMemory::GrowLists(size_t entries) {
  if (entries <= list_capacity_) return absl::OkStatus();
  list_capacity_ = std::bit_ceil(std::max(entries, kLeastListEntries));
  ++generation_;
  const size_t bytes =
      list_capacity_ * (sizeof(TokenBias) + sizeof(TokenCount));
  absl::StatusOr<DeviceBuffer> device = DeviceBuffer::Allocate(bytes);
  if (!device.ok()) return device.status();
  lists_ = *std::move(device);
  for (Staging& staging : staging_) {
    CHELA_RETURN_IF_ERROR(Renew(staging, &staging.lists, bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::byte*> StepMemory::Stage() {
  next_ = (next_ + 1) % staging_.size();
  Staging& staging = staging_[next_];
  if (staging.used) {
    CHELA_RETURN_IF_ERROR(
        CudaStatus(cudaEventSynchronize(staging.done), "wait for a copy"));
  }
  return static_cast<std::byte*>(staging.memory.data());
}

absl::Status StepMemory::Copy(const std::byte* host, std::byte* device,
                              size_t bytes, cudaStream_t stream) {
  Staging& staging = staging_[next_];
  CHELA_RETURN_IF_ERROR(CudaStatus(
      cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream),
      absl::StrCat("copy the ", bytes, " bytes of a step")));
  staging.used = true;
  return CudaStatus(cudaEventRecord(staging.done, stream), "record an event");
}

absl::Status StepMemory::Send(std::byte* host, size_t offset, size_t bytes,
                              cudaStream_t stream) {
  return Copy(host + offset, static_cast<std::byte*>(device_.data()) + offset,
              bytes, stream);
}

absl::Status StepMemory::SendLists(const DrawInputs& draws,
                                   cudaStream_t stream) {
  if (draws.biases.empty() && draws.counts.empty()) return absl::OkStatus();
  auto* const host = static_cast<std::byte*>(staging_[next_].lists.data());
  auto* const device = static_cast<std::byte*>(lists_.data());
  if (!draws.biases.empty()) {
    std::copy(draws.biases.begin(), draws.biases.end(),
              reinterpret_cast<TokenBias*>(host));
    CHELA_RETURN_IF_ERROR(
        Copy(host, device, draws.biases.size_bytes(), stream));
  }
  if (draws.counts.empty()) return absl::OkStatus();
  std::copy(draws.counts.begin(), draws.counts.end(),
            reinterpret_cast<TokenCount*>(host + CountsAt()));
  return Copy(host + CountsAt(), device + CountsAt(), draws.counts.size_bytes(),
              stream);
}

absl::Status StepMemory::Set(const StepRows& rows, const Inputs& inputs,
                             cudaStream_t stream) {
  CHELA_RETURN_IF_ERROR(Grow(rows.rows));
  CHELA_RETURN_IF_ERROR(GrowLists(
      std::max(inputs.draws.biases.size(), inputs.draws.counts.size())));
  rows_ = rows.rows;
  decode_rows_ = 0;
  chunks_ = 0;
  longest_chunk_ = 0;
  most_groups_ = 0;
  groups_ = 0;
  host_chunks_.clear();
  ranges_.clear();
  if (rows.rows == 0) return absl::OkStatus();
  const absl::StatusOr<std::byte*> staged = Stage();
  if (!staged.ok()) return staged.status();
  std::byte* const host = *staged;
  auto* const counts = reinterpret_cast<int32_t*>(host);
  auto* const positions = reinterpret_cast<int64_t*>(host + kCountsBytes);
  auto* const chunks = reinterpret_cast<Chunk*>(host + ChunksAt());
  auto* const row_list = reinterpret_cast<int32_t*>(host + RowsAt());
  auto* const slots = reinterpret_cast<int32_t*>(host + SlotsAt());
  for (const Segment& segment : rows.segments) {
    if (segment.rows == 1) {
      positions[decode_rows_] = segment.position;
      row_list[decode_rows_] = segment.first_row;
      slots[decode_rows_] = segment.slot;
      ++decode_rows_;
      continue;
    }
    const auto groups = static_cast<int32_t>(
        (segment.position + segment.rows - 1) / kStateGroup -
        segment.position / kStateGroup + 1);
    host_chunks_.push_back({.position = segment.position,
                            .slot = segment.slot,
                            .first_row = segment.first_row,
                            .rows = segment.rows,
                            .first_group = groups_});
    chunks[chunks_++] = host_chunks_.back();
    longest_chunk_ = std::max(longest_chunk_, segment.rows);
    most_groups_ = std::max(most_groups_, groups);
    groups_ += groups;
    if (!ranges_.empty() &&
        ranges_.back().first_row + ranges_.back().rows == segment.first_row) {
      ranges_.back().rows += segment.rows;
    } else {
      ranges_.push_back({segment.first_row, segment.rows});
    }
  }
  counts[0] = decode_rows_;
  counts[kLogitsCount] = static_cast<int32_t>(inputs.logits_rows.size());
  counts[kRowCount] = rows.rows;
  std::copy(inputs.tokens.begin(), inputs.tokens.end(),
            reinterpret_cast<int32_t*>(host + TokensAt()));
  std::copy(inputs.logits_rows.begin(), inputs.logits_rows.end(),
            reinterpret_cast<int32_t*>(host + LogitsAt()));
  std::copy(inputs.draws.rules.begin(), inputs.draws.rules.end(),
            reinterpret_cast<DrawRule*>(host + DrawsAt()));
  const size_t used =
      chunks_ == 0 ? ChunksAt()
                   : ChunksAt() + static_cast<size_t>(chunks_) * sizeof(Chunk);
  CHELA_RETURN_IF_ERROR(Send(host, 0, used, stream));
  return SendLists(inputs.draws, stream);
}

absl::Status StepMemory::SetTokens(std::span<const int32_t> tokens,
                                   cudaStream_t stream) {
  const absl::StatusOr<std::byte*> host = Stage();
  if (!host.ok()) return host.status();
  std::copy(tokens.begin(), tokens.end(),
            reinterpret_cast<int32_t*>(*host + TokensAt()));
  return Send(*host, TokensAt(), tokens.size_bytes(), stream);
}

absl::Status StepMemory::CheckRoom(size_t rows, const char* op) const {
  if (rows <= static_cast<size_t>(layout_rows_)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(op, ": ", rows, " rows; want each row of the step once"));
}

absl::Status StepMemory::SetLogitsRows(std::span<const int32_t> rows,
                                       cudaStream_t stream) {
  CHELA_RETURN_IF_ERROR(CheckRoom(rows.size(), "logits head"));
  const absl::StatusOr<std::byte*> host = Stage();
  if (!host.ok()) return host.status();
  std::copy(rows.begin(), rows.end(),
            reinterpret_cast<int32_t*>(*host + LogitsAt()));
  reinterpret_cast<int32_t*>(*host)[kLogitsCount] =
      static_cast<int32_t>(rows.size());
  CHELA_RETURN_IF_ERROR(
      Send(*host, kLogitsCount * sizeof(int32_t), sizeof(int32_t), stream));
  return Send(*host, LogitsAt(), rows.size_bytes(), stream);
}

absl::Status StepMemory::SetDraws(const DrawInputs& draws,
                                  cudaStream_t stream) {
  CHELA_RETURN_IF_ERROR(CheckRoom(draws.rules.size(), "draw"));
  CHELA_RETURN_IF_ERROR(
      GrowLists(std::max(draws.biases.size(), draws.counts.size())));
  const absl::StatusOr<std::byte*> host = Stage();
  if (!host.ok()) return host.status();
  std::copy(draws.rules.begin(), draws.rules.end(),
            reinterpret_cast<DrawRule*>(*host + DrawsAt()));
  reinterpret_cast<int32_t*>(*host)[kLogitsCount] =
      static_cast<int32_t>(draws.rules.size());
  CHELA_RETURN_IF_ERROR(
      Send(*host, kLogitsCount * sizeof(int32_t), sizeof(int32_t), stream));
  CHELA_RETURN_IF_ERROR(
      Send(*host, DrawsAt(), draws.rules.size_bytes(), stream));
  return SendLists(draws, stream);
}

DecodeRows StepMemory::decode() const {
  return {.count = At<int32_t>(0),
          .rows = At<int32_t>(RowsAt()),
          .slots = At<int32_t>(SlotsAt()),
          .positions = At<int64_t>(kCountsBytes)};
}
ChunkList StepMemory::chunk_list() const {
  return {.chunks = At<Chunk>(ChunksAt()),
          .host = host_chunks_.data(),
          .count = chunks_,
          .longest = longest_chunk_,
          .most_groups = most_groups_,
          .groups = groups_};
}
const int32_t* StepMemory::tokens() const { return At<int32_t>(TokensAt()); }
const int32_t* StepMemory::row_count() const {
  return At<int32_t>(kRowCount * sizeof(int32_t));
}
const int32_t* StepMemory::logits_rows() const {
  return At<int32_t>(LogitsAt());
}
const DrawRule* StepMemory::draws() const { return At<DrawRule>(DrawsAt()); }
TokenBias* StepMemory::biases() const {
  return static_cast<TokenBias*>(lists_.data());
}
TokenCount* StepMemory::counts() const {
  return reinterpret_cast<TokenCount*>(static_cast<std::byte*>(lists_.data()) +
                                       CountsAt());
}
const int32_t* StepMemory::logits_count() const {
  return At<int32_t>(kLogitsCount * sizeof(int32_t));
}

}  // namespace chela::cuda
