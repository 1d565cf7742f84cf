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
    absl::StatusOr<PinnedBuffer> memory = PinnedBuffer::Allocate(EndAt());
    if (!memory.ok()) return memory.status();
    if (staging.used) {
      CHELA_RETURN_IF_ERROR(
          CudaStatus(cudaEventSynchronize(staging.done), "wait for a copy"));
    }
    staging.memory = *std::move(memory);
    staging.used = false;
    if (staging.done == nullptr) {
      CHELA_RETURN_IF_ERROR(CudaStatus(
          cudaEventCreateWithFlags(&staging.done, cudaEventDisableTiming),
          "make an event"));
    }
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

absl::Status StepMemory::Send(std::byte* host, size_t offset, size_t bytes,
                              cudaStream_t stream) {
  Staging& staging = staging_[next_];
  CHELA_RETURN_IF_ERROR(CudaStatus(
      cudaMemcpyAsync(static_cast<std::byte*>(device_.data()) + offset,
                      host + offset, bytes, cudaMemcpyHostToDevice, stream),
      absl::StrCat("copy the ", bytes, " bytes of a step")));
  staging.used = true;
  return CudaStatus(cudaEventRecord(staging.done, stream), "record an event");
}

absl::Status StepMemory::Set(const StepRows& rows, const Inputs& inputs,
                             cudaStream_t stream) {
  CHELA_RETURN_IF_ERROR(Grow(rows.rows));
  rows_ = rows.rows;
  decode_rows_ = 0;
  chunks_ = 0;
  longest_chunk_ = 0;
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
    host_chunks_.push_back({.position = segment.position,
                            .slot = segment.slot,
                            .first_row = segment.first_row,
                            .rows = segment.rows});
    chunks[chunks_++] = host_chunks_.back();
    longest_chunk_ = std::max(longest_chunk_, segment.rows);
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
  std::copy(inputs.draws.begin(), inputs.draws.end(),
            reinterpret_cast<DrawRule*>(host + DrawsAt()));
  const size_t used =
      chunks_ == 0 ? ChunksAt()
                   : ChunksAt() + static_cast<size_t>(chunks_) * sizeof(Chunk);
  return Send(host, 0, used, stream);
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

absl::Status StepMemory::SetDraws(std::span<const DrawRule> draws,
                                  cudaStream_t stream) {
  CHELA_RETURN_IF_ERROR(CheckRoom(draws.size(), "draw"));
  const absl::StatusOr<std::byte*> host = Stage();
  if (!host.ok()) return host.status();
  std::copy(draws.begin(), draws.end(),
            reinterpret_cast<DrawRule*>(*host + DrawsAt()));
  reinterpret_cast<int32_t*>(*host)[kLogitsCount] =
      static_cast<int32_t>(draws.size());
  CHELA_RETURN_IF_ERROR(
      Send(*host, kLogitsCount * sizeof(int32_t), sizeof(int32_t), stream));
  return Send(*host, DrawsAt(), draws.size_bytes(), stream);
}

DecodeRows StepMemory::decode() const {
  return {.count = At<int32_t>(0),
          .rows = At<int32_t>(RowsAt()),
          .slots = At<int32_t>(SlotsAt()),
          .positions = At<int64_t>(kCountsBytes)};
}
const Chunk* StepMemory::chunk_list() const { return At<Chunk>(ChunksAt()); }
const int32_t* StepMemory::tokens() const { return At<int32_t>(TokensAt()); }
const int32_t* StepMemory::row_count() const {
  return At<int32_t>(kRowCount * sizeof(int32_t));
}
const int32_t* StepMemory::logits_rows() const {
  return At<int32_t>(LogitsAt());
}
const DrawRule* StepMemory::draws() const { return At<DrawRule>(DrawsAt()); }
const int32_t* StepMemory::logits_count() const {
  return At<int32_t>(kLogitsCount * sizeof(int32_t));
}

}  // namespace chela::cuda
