#ifndef CHELA_KERNELS_CUDA_STEP_MEMORY_H_
#define CHELA_KERNELS_CUDA_STEP_MEMORY_H_

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/step_rows.h"
#include "kernels/draw.h"
#include "kernels/step.h"

namespace chela::cuda {

// What kernels know of a step, in device memory: filled on the host and copied
// at once. The addresses are the same for all steps whose rows round up to the
// same power of two, until a step needs more room than any before.
//
// Threads: owned by one thread.
class StepMemory {
 public:
  // Rows that belong together in a product of chunks.
  struct Range {
    int32_t first_row = 0;
    int32_t rows = 0;
  };

  StepMemory() = default;
  ~StepMemory();
  StepMemory(const StepMemory&) = delete;

  // What the ops of a step read beside its rows.
  struct Inputs {
    std::span<const int32_t> tokens;
    std::span<const int32_t> logits_rows;
    DrawInputs draws;
  };

  // Sorts the step's segments into decode rows and chunks and copies them;
  // the inputs too, where they are known already.
  absl::Status Set(const StepRows& rows, const Inputs& inputs,
                   cudaStream_t stream);
  absl::Status SetTokens(std::span<const int32_t> tokens, cudaStream_t stream);
  absl::Status SetLogitsRows(std::span<const int32_t> rows,
                             cudaStream_t stream);
  // One for each of the logits rows, whose number it sets.
  absl::Status SetDraws(const DrawInputs& draws, cudaStream_t stream);

  int32_t rows() const { return rows_; }
  int32_t decode_rows() const { return decode_rows_; }
  int32_t chunks() const { return chunks_; }
  int32_t longest_chunk() const { return longest_chunk_; }
  // Host memory: what chunk_list() has.
  std::span<const Chunk> host_chunks() const { return host_chunks_; }
  std::span<const Range> ranges() const {
    return {ranges_.data(), ranges_.size()};
  }
  // Times that the addresses below have changed.
  int64_t generation() const { return generation_; }

  // Device memory.
  DecodeRows decode() const;
  ChunkList chunk_list() const;
  const int32_t* tokens() const;
  const int32_t* row_count() const;
  const int32_t* logits_rows() const;
  const int32_t* logits_count() const;
  const DrawRule* draws() const;
  // Null until a draw has any. Kernels may write there.
  TokenBias* biases() const;
  TokenCount* counts() const;

 private:
  // A host copy may be overwritten once its transfer is over; a few of them, so
  // that a step need not wait for the one before.
  struct Staging {
    PinnedBuffer memory;
    PinnedBuffer lists;
    cudaEvent_t done = nullptr;
    bool used = false;
  };
  absl::Status Grow(int64_t rows);
  // Room for that many biases and as many counts.
  absl::Status GrowLists(size_t entries);
  absl::Status Renew(Staging& staging, PinnedBuffer* buffer, size_t bytes);
  absl::StatusOr<std::byte*> Stage();
  absl::Status CheckRoom(size_t rows, const char* op) const;
  absl::Status Send(std::byte* host, size_t offset, size_t bytes,
                    cudaStream_t stream);
  absl::Status Copy(const std::byte* host, std::byte* device, size_t bytes,
                    cudaStream_t stream);
  // The lists of the draws, through the staging that Stage gave last.
  absl::Status SendLists(const DrawInputs& draws, cudaStream_t stream);
  template <typename T>
  const T* At(size_t offset) const {
    return reinterpret_cast<const T*>(
        static_cast<const std::byte*>(device_.data()) + offset);
  }
  size_t ListBytes() const;
  size_t RowsAt() const;
  size_t SlotsAt() const;
  size_t TokensAt() const;
  size_t LogitsAt() const;
  size_t DrawsAt() const;
  size_t ChunksAt() const;
  size_t EndAt() const;
  size_t CountsAt() const { return list_capacity_ * sizeof(TokenBias); }

  int64_t capacity_ = 0;     // rows that there is room for
  int64_t layout_rows_ = 0;  // rows that this step's lists are apart
  int64_t generation_ = 0;
  DeviceBuffer device_;
  size_t list_capacity_ = 0;  // entries
  DeviceBuffer lists_;        // biases, then counts
  std::array<Staging, 4> staging_;
  size_t next_ = 0;
  int32_t rows_ = 0;
  int32_t decode_rows_ = 0;
  int32_t chunks_ = 0;
  int32_t longest_chunk_ = 0;
  int32_t most_groups_ = 0;
  int32_t groups_ = 0;
  std::vector<Chunk> host_chunks_;
  std::vector<Range> ranges_;
};

}  // namespace chela::cuda

#endif  // CHELA_KERNELS_CUDA_STEP_MEMORY_H_
