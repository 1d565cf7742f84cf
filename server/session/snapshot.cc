#include "server/session/snapshot.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/status_macros.h"
#include "server/session/byte_order.h"
#include "server/session/snapshot_header.h"
#include "server/session/snapshot_part.h"

namespace chela {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the tensors are copied as they are in memory");

// Positions beyond are no texts, and sums with them would overflow.
constexpr int64_t kMaxPosition = int64_t{1} << 62;

absl::Status Invalid(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("state: ", what));
}

absl::Status CheckSampler(const SamplerState& sampler, int64_t tokens,
                          int32_t vocab) {
  const auto is_token = [vocab](int32_t token) {
    return token >= 0 && token < vocab;
  };
  if (sampler.draws < 0 || sampler.draws > kMaxPosition) {
    return Invalid(absl::StrCat("draws ", sampler.draws, "; want 0 or more"));
  }
  int64_t counted = 0;
  int32_t before = -1;
  for (const SamplerState::Count& count : sampler.counts) {
    if (!is_token(count.token) || count.token <= before) {
      return Invalid(absl::StrCat("a count of token ", count.token, " after ",
                                  before, "; want ascending ones below ",
                                  vocab));
    }
    before = count.token;
    const int64_t times = int64_t{count.in_prompt} + count.generated;
    if (count.in_prompt < 0 || count.generated < 0 ||
        times > std::numeric_limits<int32_t>::max()) {
      return Invalid(absl::StrCat("token ", count.token, " counted ",
                                  count.in_prompt, " + ", count.generated,
                                  " times"));
    }
    counted += times;
  }
  if (counted > tokens) {
    return Invalid(absl::StrCat(counted, " tokens counted; it has ", tokens));
  }
  if (sampler.recent.size() > kMaxRecentTokens) {
    return Invalid(absl::StrCat(sampler.recent.size(), " recent tokens; want ",
                                "at most ", kMaxRecentTokens));
  }
  for (const SamplerState::Recent& recent : sampler.recent) {
    if (is_token(recent.token)) continue;
    return Invalid(absl::StrCat("recent token ", recent.token,
                                "; want one of [0, ", vocab, ")"));
  }
  return absl::OkStatus();
}

std::string EncodeTextPart(const SequenceState& state) {
  ByteWriter writer;
  for (const SamplerState::Count& count : state.sampler.counts) {
    writer.Put(count.token);
    writer.Put(count.in_prompt);
    writer.Put(count.generated);
  }
  for (const SamplerState::Recent& recent : state.sampler.recent) {
    writer.Put(static_cast<uint32_t>(recent.token) << 1 |
               static_cast<uint32_t>(recent.generated));
  }
  writer.PutBytes(state.text.cut);
  writer.PutBytes(state.text.tail);
  return writer.bytes();
}

// `bytes` has exactly header.TextPartBytes().
void DecodeTextPart(std::string_view bytes, const SnapshotHeader& header,
                    SequenceState& state) {
  ByteReader reader(bytes);
  state.sampler.counts.resize(header.counts);
  for (SamplerState::Count& count : state.sampler.counts) {
    count.token = reader.Get<int32_t>();
    count.in_prompt = reader.Get<int32_t>();
    count.generated = reader.Get<int32_t>();
  }
  state.sampler.recent.resize(header.recent);
  for (SamplerState::Recent& recent : state.sampler.recent) {
    const auto bits = reader.Get<uint32_t>();
    recent.token = static_cast<int32_t>(bits >> 1);
    recent.generated = (bits & 1) != 0;
  }
  state.text.cut = std::string(reader.GetBytes(header.cut_bytes));
  state.text.tail = std::string(reader.GetBytes(header.tail_bytes));
}

// Before memory is taken: the header's numbers against the model's.
absl::Status CheckHeader(const SnapshotHeader& header,
                         const SnapshotModel& model) {
  if (header.fingerprint != model.fingerprint ||
      header.vocab != static_cast<uint32_t>(model.vocab)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "snapshot: of the model ", header.fingerprint, " with ", header.vocab,
        " tokens; this server has ", model.fingerprint, " with ", model.vocab));
  }
  if (header.layout != model.layout) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot: its state is laid out as \"", header.layout,
                     "\"; this server's as \"", model.layout, "\""));
  }
  if (header.counts > header.vocab || header.recent > kMaxRecentTokens ||
      header.cut_bytes > kMaxCutBytes || header.tail_bytes > kMaxTextTail) {
    return absl::DataLossError(absl::StrCat(
        "snapshot: ", header.counts, " counts, ", header.recent, " tokens, ",
        header.cut_bytes, " and ", header.tail_bytes, " bytes of text; want ",
        "at most ", header.vocab, ", ", kMaxRecentTokens, ", ", kMaxCutBytes,
        " and ", kMaxTextTail));
  }
  const uint64_t logits = header.parts[kLogitsPart].raw_bytes;
  const uint64_t full = uint64_t{header.vocab} * sizeof(float);
  if (logits != full && (logits != 0 || header.pending < 0)) {
    return absl::DataLossError(
        absl::StrCat("snapshot: ", logits, " bytes of logits; want ", full));
  }
  if (header.pending < -1 || header.pending >= int64_t{header.vocab}) {
    return absl::DataLossError(
        absl::StrCat("snapshot: pending token ", header.pending,
                     "; want -1 or one below ", header.vocab));
  }
  return absl::OkStatus();
}

absl::Status ReadParts(const SnapshotHead& head, const SnapshotModel& model,
                       SequenceState& state) {
  const SnapshotHeader& header = head.header;
  // Sizes are the model's, or checked against it; DecompressPart compares the
  // declared ones with them.
  std::vector<std::byte> text(header.TextPartBytes());
  CHELA_RETURN_IF_ERROR(DecompressPart(head.parts[kTextPart],
                                       header.parts[kTextPart],
                                       SnapshotCodec::kZstd, text));
  DecodeTextPart({reinterpret_cast<const char*>(text.data()), text.size()},
                 header, state);
  state.logits.resize(header.parts[kLogitsPart].raw_bytes / sizeof(float));
  CHELA_RETURN_IF_ERROR(
      DecompressPart(head.parts[kLogitsPart], header.parts[kLogitsPart],
                     SnapshotCodec::kZstdPlanes,
                     std::as_writable_bytes(std::span(state.logits))));
  state.state.resize(static_cast<size_t>(model.state_bytes));
  return DecompressPart(head.parts[kStatePart], header.parts[kStatePart],
                        SnapshotCodec::kZstdPlanes, state.state);
}

}  // namespace

absl::Status CheckSequenceState(const SequenceState& state,
                                const SnapshotModel& model) {
  if (state.position < 0 || state.position > kMaxPosition ||
      state.tokens() < 1) {
    return Invalid(absl::StrCat("position ", state.position, ", ",
                                state.pending.has_value() ? "with" : "without",
                                " a pending token; want at least 1 token"));
  }
  if (state.pending.has_value() &&
      (*state.pending < 0 || *state.pending >= model.vocab)) {
    return Invalid(absl::StrCat("pending token ", *state.pending,
                                "; want one of [0, ", model.vocab, ")"));
  }
  const bool needs_logits = !state.pending.has_value();
  if (state.logits.size() != static_cast<size_t>(model.vocab) &&
      (needs_logits || !state.logits.empty())) {
    return Invalid(
        absl::StrCat(state.logits.size(), " logits; want ", model.vocab));
  }
  if (state.state.size() != static_cast<size_t>(model.state_bytes)) {
    return Invalid(
        absl::StrCat(state.state.size(), " bytes; want ", model.state_bytes));
  }
  if (state.text.cut.size() > kMaxCutBytes ||
      state.text.tail.size() > kMaxTextTail) {
    return Invalid(absl::StrCat(
        state.text.cut.size(), " and ", state.text.tail.size(),
        " bytes of text; want at most ", kMaxCutBytes, " and ", kMaxTextTail));
  }
  return CheckSampler(state.sampler, state.tokens(), model.vocab);
}

absl::StatusOr<std::string> EncodeSnapshot(const SequenceState& state,
                                           const SnapshotModel& model) {
  CHELA_RETURN_IF_ERROR(CheckSequenceState(state, model));
  SnapshotHeader header = {
      .position = state.position,
      .pending = state.pending.has_value() ? int64_t{*state.pending} : -1,
      .token_hash = state.token_hash,
      .seed = state.sampler.seed,
      .draws = state.sampler.draws,
      .vocab = static_cast<uint32_t>(model.vocab),
      .counts = static_cast<uint32_t>(state.sampler.counts.size()),
      .recent = static_cast<uint32_t>(state.sampler.recent.size()),
      .cut_bytes = static_cast<uint32_t>(state.text.cut.size()),
      .tail_bytes = static_cast<uint32_t>(state.text.tail.size()),
      .parts = {},
      .fingerprint = model.fingerprint,
      .layout = model.layout};
  const std::string text = EncodeTextPart(state);
  std::string parts;
  CHELA_RETURN_IF_ERROR(CompressPart(std::as_bytes(std::span(text)),
                                     SnapshotCodec::kZstd,
                                     header.parts[kTextPart], parts));
  CHELA_RETURN_IF_ERROR(CompressPart(std::as_bytes(std::span(state.logits)),
                                     SnapshotCodec::kZstdPlanes,
                                     header.parts[kLogitsPart], parts));
  CHELA_RETURN_IF_ERROR(CompressPart(state.state, SnapshotCodec::kZstdPlanes,
                                     header.parts[kStatePart], parts));
  return absl::StrCat(WriteSnapshotHead(header), parts);
}

absl::Status CheckSnapshotBeginning(std::string_view bytes,
                                    const SnapshotModel& model) {
  const absl::StatusOr<SnapshotHeader> header = ReadSnapshotHeader(bytes);
  CHELA_RETURN_IF_ERROR(header.status());
  return CheckHeader(*header, model);
}

absl::StatusOr<SequenceStatePtr> DecodeSnapshot(std::string_view bytes,
                                                const SnapshotModel& model) {
  const absl::StatusOr<SnapshotHead> head = ReadSnapshotHead(bytes);
  if (!head.ok()) return head.status();
  const SnapshotHeader& header = head->header;
  CHELA_RETURN_IF_ERROR(CheckHeader(header, model));
  auto state = std::make_shared<SequenceState>();
  state->position = header.position;
  if (header.pending >= 0) {
    state->pending = static_cast<int32_t>(header.pending);
  }
  state->token_hash = header.token_hash;
  state->sampler.seed = header.seed;
  state->sampler.draws = header.draws;
  CHELA_RETURN_IF_ERROR(ReadParts(*head, model, *state));
  const absl::Status valid = CheckSequenceState(*state, model);
  if (!valid.ok()) {
    return absl::DataLossError(absl::StrCat("snapshot: ", valid.message()));
  }
  return SequenceStatePtr(std::move(state));
}

}  // namespace chela
