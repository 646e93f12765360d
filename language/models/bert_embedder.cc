#include "language/models/bert_embedder.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <future>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::language {
namespace {

// Tokens of one forward pass: enough to keep the matrix products busy, few enough that activations stay in the cache.
// A pass of Int8Bert has one thread, one of BertEncoder all of them.
constexpr size_t kTokensPerPass = 768, kInt8TokensPerPass = 512, kLeastInt8TokensPerPass = 64;

// Shorter texts, such as most questions, are computed in fp32: the errors of few tokens do not cancel out in their
// mean, and they cost little.
constexpr size_t kLeastInt8Tokens = 16;

// The mean of rows [first, first + count) of states, [T, D] fp32, scaled to L2 norm 1; zeros when count is 0.
void WriteUnitMean(const at::Tensor& states, int64_t first, int64_t count, float* result) {
  const int64_t width = states.size(1);
  const float* rows = states.const_data_ptr<float>() + first * width;
  std::fill(result, result + width, 0.0f);
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t i = 0; i < width; ++i) result[i] += rows[row * width + i];
  }
  const double norm = std::sqrt(std::inner_product(result, result + width, result, 0.0));
  if (norm == 0) return;
  for (int64_t i = 0; i < width; ++i) result[i] = static_cast<float>(result[i] / norm);
}

}  // namespace

absl::StatusOr<std::unique_ptr<BertEmbedder>> BertEmbedder::Create(const BertConfig& config, const StateDict& weights,
                                                                   std::unique_ptr<Tokenizer> tokenizer,
                                                                   at::Device device, EmbedderPrecision precision) {
  std::unique_ptr<BertEmbedder> model(new BertEmbedder);
  absl::StatusOr<std::unique_ptr<BertEncoder>> encoder = BertEncoder::Create(config, weights, {}, nullptr, device);
  if (!encoder.ok()) return encoder.status();
  model->encoder_ = *std::move(encoder);
  if (precision == EmbedderPrecision::kInt8 && device.is_cpu()) model->fast_ = Int8Bert::Create(*model->encoder_);
  const absl::StatusOr<BertControlTokens> controls = FindControlTokens(*tokenizer, config);
  if (!controls.ok()) return controls.status();
  model->cls_ = controls->cls;
  model->sep_ = controls->sep;
  model->tokenizer_ = std::move(tokenizer);
  model->fingerprint_ = absl::StrCat("bert:", config.weights_digest, ":mean:l2:", config.max_tokens);
  return model;
}

int64_t BertEmbedder::CountTokens(std::string_view text) const {
  return static_cast<int64_t>(tokenizer_->Encode(text).size()) + 2;  // [CLS] and [SEP]
}

absl::Status BertEmbedder::ForEach(absl::Span<const std::vector<TokenId>> texts,
                                   const std::function<void(size_t, const at::Tensor&)>& take,
                                   std::optional<int64_t> first_layer) const {
  for (size_t i = 0; i < texts.size(); ++i) {
    if (static_cast<int64_t>(texts[i].size()) + 2 > encoder_->config().max_tokens) {
      return absl::InvalidArgumentError(
          absl::StrCat("text ", i, " has ", texts[i].size() + 2, " tokens; the embedder takes at most ",
                       encoder_->config().max_tokens, ", [CLS] and [SEP] included. Split it."));
    }
  }
  // Texts of one length share an attention call, so they go through in order of length.
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return texts[a].size() < texts[b].size(); });

  size_t exact = order.size();  // the texts before it in `order` are computed by encoder_, the others by fast_
  if (fast_ && !first_layer) {
    exact = 0;
    while (exact < order.size() && texts[order[exact]].size() + 2 < kLeastInt8Tokens) ++exact;
  }
  using Span = std::pair<size_t, size_t>;  // of `order`
  const auto passes = [&](size_t begin, size_t last, size_t limit) {
    std::vector<Span> spans;
    while (begin < last) {
      size_t end = begin, tokens = 0;
      while (end < last && (end == begin || tokens + texts[order[end]].size() + 2 <= limit))
        tokens += texts[order[end++]].size() + 2;
      spans.emplace_back(begin, end);
      begin = end;
    }
    return spans;
  };
  const auto run = [&](const Span& span) {
    c10::InferenceMode inference;
    std::vector<TokenId> ids;
    std::vector<int64_t> lengths;
    for (size_t i = span.first; i < span.second; ++i) {
      const std::vector<TokenId>& text = texts[order[i]];
      ids.push_back(cls_);
      ids.insert(ids.end(), text.begin(), text.end());
      ids.push_back(sep_);
      lengths.push_back(static_cast<int64_t>(text.size()) + 2);
    }
    at::Tensor states;  // [N, ...]
    if (span.first >= exact) {
      states = at::empty({static_cast<int64_t>(ids.size()), dimension()}, at::kFloat);
      fast_->Encode(ids, lengths, states.mutable_data_ptr<float>());
    } else {
      const at::Tensor wide = at::tensor(at::ArrayRef<TokenId>(ids), at::kLong);
      states = encoder_->Encode(wide, lengths, first_layer).cpu().contiguous();
    }
    int64_t row = 0;
    for (size_t i = span.first; i < span.second; ++i) {
      take(order[i], states.narrow(0, row, lengths[i - span.first]));
      row += lengths[i - span.first];
    }
  };
  try {
    for (const Span& span : passes(0, exact, kTokensPerPass)) run(span);
    size_t all = 0;
    for (size_t i = exact; i < order.size(); ++i) all += texts[order[i]].size() + 2;
    const auto threads = static_cast<size_t>(at::get_num_threads());
    const size_t limit = std::clamp(all / threads + 1, kLeastInt8TokensPerPass, kInt8TokensPerPass);
    const std::vector<Span> spans = passes(exact, order.size(), limit);
    if (spans.size() <= 1) {
      for (const Span& span : spans) run(span);
      return absl::OkStatus();
    }
    // The longest first, so that no thread begins one when the others have ended. Threads of our own: at::parallel_for
    // runs everything on the caller's where a file is not compiled for OpenMP, as none of ours is.
    std::atomic<int64_t> left = static_cast<int64_t>(spans.size());
    const auto work = [&] {
      for (int64_t mine; (mine = left.fetch_sub(1)) > 0;) run(spans[static_cast<size_t>(mine - 1)]);
    };
    std::vector<std::future<void>> others;
    for (size_t i = 1; i < std::min(threads, spans.size()); ++i) others.push_back(std::async(std::launch::async, work));
    work();
    for (std::future<void>& other : others) other.get();
  } catch (const std::exception&) {
    return absl::InternalError("the embedder failed; is there enough memory?");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> BertEmbedder::Embed(absl::Span<const std::string> texts) const {
  std::vector<std::vector<TokenId>> tokens;
  for (const std::string& text : texts) tokens.push_back(tokenizer_->Encode(text));
  std::vector<float> vectors(texts.size() * encoder_->config().width);
  const absl::Status status = ForEach(tokens, [&](size_t text, const at::Tensor& states) {
    WriteUnitMean(states, 0, states.size(0), &vectors[text * encoder_->config().width]);
  });
  if (!status.ok()) return status;
  return vectors;
}

absl::StatusOr<std::vector<PieceEmbeddings>> BertEmbedder::EmbedPieces(
    absl::Span<const std::vector<std::string>> texts) const {
  std::vector<std::vector<TokenId>> tokens(texts.size());
  std::vector<std::vector<int64_t>> lengths(texts.size());  // of the pieces, in tokens
  std::vector<PieceEmbeddings> embeddings(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    for (const std::string& piece : texts[i]) {
      const std::vector<TokenId> ids = tokenizer_->Encode(piece);
      tokens[i].insert(tokens[i].end(), ids.begin(), ids.end());
      lengths[i].push_back(static_cast<int64_t>(ids.size()));
    }
    embeddings[i].text.resize(encoder_->config().width);
    embeddings[i].pieces.resize(texts[i].size() * encoder_->config().width);
  }
  const absl::Status status = ForEach(tokens, [&](size_t text, const at::Tensor& states) {
    WriteUnitMean(states, 0, states.size(0), embeddings[text].text.data());
    int64_t row = 1;  // after [CLS]
    for (size_t piece = 0; piece < lengths[text].size(); ++piece) {
      WriteUnitMean(states, row, lengths[text][piece], &embeddings[text].pieces[piece * encoder_->config().width]);
      row += lengths[text][piece];
    }
  });
  if (!status.ok()) return status;
  return embeddings;
}

absl::StatusOr<std::vector<std::vector<at::Tensor>>> BertEmbedder::States(absl::Span<const std::string> texts,
                                                                          int64_t first_layer) const {
  if (first_layer < 0 || first_layer >= encoder_->config().layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("first_layer is ", first_layer, "; it must be 0 to ", encoder_->config().layers - 1));
  }
  std::vector<std::vector<TokenId>> tokens;
  for (const std::string& text : texts) tokens.push_back(tokenizer_->Encode(text));
  std::vector<std::vector<at::Tensor>> states(texts.size());
  const absl::Status status = ForEach(
      tokens,
      [&](size_t text, const at::Tensor& side_by_side) {
        for (int64_t i = 0; i < side_by_side.size(1); ++i)
          states[text].push_back(side_by_side.select(1, i).contiguous().clone());
      },
      first_layer);
  if (!status.ok()) return status;
  return states;
}

}  // namespace blazon::language
