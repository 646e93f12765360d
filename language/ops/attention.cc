#include "language/ops/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace blazon::language {
namespace {

constexpr int64_t kFirstRoom = 128;  // tokens

thread_local const AttentionObserver::OnLayer* observer = nullptr;  // null: nobody looks

double Scale(const AttentionRules& rules, int64_t width) {
  return rules.scale != 0.0 ? rules.scale : 1.0 / std::sqrt(static_cast<double>(width));
}

// queries: [B, H, T, C]; keys, values: [B, K, L, C]. mask: bool [T, L], added fp32 [H, T, L], or undefined.
// Returns [B, H, T, C].
at::Tensor Attend(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& mask,
                  bool causal, double scale) {
  return at::scaled_dot_product_attention(queries, keys, values,
                                          mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt,
                                          /*dropout_p=*/0.0, causal, scale,
                                          /*enable_gqa=*/queries.size(1) != keys.size(1));
}

// The same with soft-capped scores, which LibTorch's kernel does not know. mask: as above, or undefined.
at::Tensor AttendCapped(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                        const at::Tensor& mask, double scale, double softcap) {
  const int64_t heads = queries.size(1), key_heads = keys.size(1), tokens = queries.size(2), width = queries.size(3);
  const at::Tensor grouped = queries.reshape({-1, key_heads, heads / key_heads, tokens, width});  // [B, K, G, T, C]
  at::Tensor scores = at::matmul(grouped, keys.unsqueeze(2).transpose(-1, -2)) * scale;           // [B, K, G, T, L]
  scores = (scores / softcap).tanh() * softcap;
  if (mask.defined()) {
    scores = mask.scalar_type() == at::kBool
                 ? scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity())
                 : scores + mask.view({1, key_heads, heads / key_heads, tokens, -1});
  }
  const at::Tensor weights = scores.softmax(-1, at::kFloat).to(values.scalar_type());
  return at::matmul(weights, values.unsqueeze(2)).reshape({-1, heads, tokens, width});  // [B, H, T, C]
}

// bool [T, L]: the last `tokens` of `length` positions see all that is not behind them.
at::Tensor CausalMask(int64_t tokens, int64_t length, at::Device device) {
  return at::ones({tokens, length}, at::device(device).dtype(at::kBool)).tril(length - tokens);
}

// Which of `length` keys each of the last `tokens` positions sees: bool [T, L]; undefined where all that a causal mask
// leaves are seen and tokens == length, or where there is only one token and it sees all.
at::Tensor VisibleKeys(int64_t tokens, int64_t length, const AttentionRules& rules, absl::Span<const TokenSpan> spans,
                       at::Device device) {
  const bool narrow = rules.window > 0 && rules.window < length;
  if (spans.empty() && !narrow && (tokens == length || tokens == 1)) return {};
  const int64_t past = length - tokens;
  at::Tensor mask = CausalMask(tokens, length, device);
  const auto open_spans = [&] {
    for (const TokenSpan& span : spans) {
      mask.narrow(0, span.begin, span.end - span.begin).narrow(1, past + span.begin, span.end - span.begin).fill_(true);
    }
  };
  if (rules.window_cuts_spans) open_spans();
  if (narrow) mask.logical_and_(at::ones_like(mask).triu(past - rules.window + 1));
  if (!rules.window_cuts_spans) open_spans();
  return mask;
}

// What is added to the scores for ALiBi, with the causal mask in it: fp32 [H, T, L]. visible: as of VisibleKeys.
at::Tensor AlibiMask(const at::Tensor& slopes, int64_t tokens, int64_t length, const at::Tensor& visible) {
  const at::Tensor bias = slopes.view({-1, 1, 1}) * at::arange(length, slopes.options());  // [H, 1, L]
  at::Tensor seen = visible;
  if (!seen.defined()) seen = CausalMask(tokens, length, slopes.device());
  return bias.expand({-1, tokens, -1}).masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
}

// One sequence whose last T of L tokens are new. queries: [T, H, C]; keys, values: [K, L, C]. Returns [T, H * C].
at::Tensor AttendToPast(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                        absl::Span<const TokenSpan> spans, const AttentionRules& rules) {
  const int64_t tokens = queries.size(0), heads = queries.size(1), width = queries.size(2);
  const int64_t key_heads = keys.size(0), length = keys.size(1);
  const double scale = Scale(rules, width);
  const bool plain = rules.softcap == 0.0 && !rules.alibi_slopes.defined();
  if (tokens == 1 && plain) {  // the heads that share a key head are its query rows
    const int64_t seen = rules.window > 0 ? std::min(rules.window, length) : length;
    const at::Tensor grouped = queries.reshape({1, key_heads, heads / key_heads, width});
    return Attend(grouped, keys.narrow(1, length - seen, seen).unsqueeze(0),
                  values.narrow(1, length - seen, seen).unsqueeze(0), {}, /*causal=*/false, scale)
        .reshape({1, heads * width});
  }
  at::Tensor mask = VisibleKeys(tokens, length, rules, spans, queries.device());
  if (rules.alibi_slopes.defined()) mask = AlibiMask(rules.alibi_slopes, tokens, length, mask);
  const at::Tensor q = queries.transpose(0, 1).unsqueeze(0), k = keys.unsqueeze(0), v = values.unsqueeze(0);
  at::Tensor result;  // [1, H, T, C]
  if (rules.softcap != 0.0) {
    if (!mask.defined() && tokens > 1) mask = CausalMask(tokens, length, queries.device());
    result = AttendCapped(q, k, v, mask, scale, rules.softcap);
  } else {
    if (mask.defined() && mask.scalar_type() != at::kBool) mask = mask.to(q.scalar_type());
    result = Attend(q, k, v, mask, /*causal=*/!mask.defined() && tokens > 1, scale);
  }
  return result.squeeze(0).transpose(0, 1).reshape({tokens, heads * width});
}

// What each of T tokens of a whole sequence takes from each. queries: [T, H, C]; keys: [T, K, C]. Returns fp32 [H, T,
// T].
at::Tensor AttentionWeights(const at::Tensor& queries, const at::Tensor& keys, absl::Span<const TokenSpan> spans,
                            const AttentionRules& rules) {
  const int64_t tokens = queries.size(0), heads = queries.size(1), width = queries.size(2), key_heads = keys.size(1);
  at::Tensor mask = VisibleKeys(tokens, tokens, rules, spans, queries.device());
  if (!mask.defined()) mask = CausalMask(tokens, tokens, queries.device());
  const at::Tensor q = queries.to(at::kFloat).transpose(0, 1).reshape({key_heads, heads / key_heads, tokens, width});
  const at::Tensor k = keys.to(at::kFloat).permute({1, 2, 0}).unsqueeze(1);  // [K, 1, C, T]
  at::Tensor scores = at::matmul(q, k).reshape({heads, tokens, tokens}) * Scale(rules, width);
  if (rules.softcap != 0.0) scores = (scores / rules.softcap).tanh() * rules.softcap;
  if (rules.alibi_slopes.defined()) {
    scores = scores + AlibiMask(rules.alibi_slopes, tokens, tokens, mask);
  } else {
    scores = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  }
  return scores.softmax(-1);
}

// Whole sequences, each its common tokens and branches. Cut by one call for each of the three, whose gradient is one
// copy; a view for each part would give each a gradient of all rows. Returns [N, H * C].
at::Tensor AttendWithoutCaches(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                               absl::Span<const SequenceRows> sequences, const AttentionRules& rules) {
  std::vector<int64_t> lengths;
  for (const SequenceRows& rows : sequences) {
    lengths.push_back(rows.branches.empty() ? rows.count : rows.branches[0].begin);
    for (const TokenSpan& branch : rows.branches) lengths.push_back(branch.end - branch.begin);
  }
  const std::vector<at::Tensor> q = queries.split_with_sizes(lengths),
                                k = keys.transpose(0, 1).split_with_sizes(lengths, 1),
                                v = values.transpose(0, 1).split_with_sizes(lengths, 1);  // [T, H, C], [K, T, C]
  std::vector<at::Tensor> results;
  size_t part = 0;
  for (const SequenceRows& rows : sequences) {
    const size_t common = part++;
    results.push_back(AttendToPast(q[common], k[common], v[common], rows.bidirectional, rules));
    for (size_t i = 0; i < rows.branches.size(); ++i, ++part) {
      results.push_back(
          AttendToPast(q[part], at::cat({k[common], k[part]}, 1), at::cat({v[common], v[part]}, 1), {}, rules));
    }
  }
  return results.size() == 1 ? results[0] : at::cat(results, 0);
}

}  // namespace

KvCache::KvCache(int64_t layers, int64_t key_heads, int64_t head_width, int64_t max_length,
                 const at::TensorOptions& options)
    : key_heads_(key_heads), head_width_(head_width), max_length_(max_length), options_(options), layers_(layers) {}

int64_t KvCache::bytes() const {
  int64_t bytes = 0;
  for (const View& layer : layers_) {
    if (layer.keys.defined()) bytes += static_cast<int64_t>(layer.keys.nbytes() + layer.values.nbytes());
  }
  return bytes;
}

void KvCache::Truncate(int64_t length) {
  TORCH_CHECK(length >= 0 && length <= length_, "cannot truncate ", length_, " tokens to ", length);
  length_ = length;
}

std::unique_ptr<ModelState> KvCache::Fork() const { return std::make_unique<KvCache>(*this); }

KvCache::View KvCache::Extend(int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
  const int64_t tokens = keys.size(0), length = length_ + tokens;
  TORCH_CHECK(length <= max_length_, length, " tokens are more than the context of ", max_length_);
  View& held = layers_[layer];
  const int64_t room = held.keys.defined() ? held.keys.size(1) : 0;
  const bool shared = room > 0 && held.keys.use_count() > 1;  // with a fork, which must not see what comes
  if (room < length || shared) {
    const int64_t wanted = room < length ? std::min(max_length_, std::max({length, 2 * room, kFirstRoom})) : room;
    View grown{at::empty({key_heads_, wanted, head_width_}, options_),
               at::empty({key_heads_, wanted, head_width_}, options_)};
    if (length_ > 0) {
      grown.keys.narrow(1, 0, length_).copy_(held.keys.narrow(1, 0, length_));
      grown.values.narrow(1, 0, length_).copy_(held.values.narrow(1, 0, length_));
    }
    held = std::move(grown);
  }
  held.keys.narrow(1, length_, tokens).copy_(keys.transpose(0, 1));
  held.values.narrow(1, length_, tokens).copy_(values.transpose(0, 1));
  return {held.keys.narrow(1, 0, length), held.values.narrow(1, 0, length)};
}

void KvCache::Advance(int64_t tokens) { length_ += tokens; }

AttentionObserver::AttentionObserver(OnLayer on_layer) : on_layer_(std::move(on_layer)) { observer = &on_layer_; }
AttentionObserver::~AttentionObserver() { observer = nullptr; }

at::Tensor CausalAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                           absl::Span<const SequenceRows> sequences, int64_t layer, const AttentionRules& rules) {
  const int64_t heads = queries.size(1), width = queries.size(2), key_heads = keys.size(1);
  const int64_t count = static_cast<int64_t>(sequences.size()), tokens = sequences[0].count;
  if (observer != nullptr && count == 1 && sequences[0].cache == nullptr && sequences[0].branches.empty())
    (*observer)(layer, AttentionWeights(queries, keys, sequences[0].bidirectional, rules));
  const bool one_shape = std::all_of(sequences.begin(), sequences.end(), [&](const SequenceRows& rows) {
    return rows.cache == nullptr && rows.count == tokens && rows.bidirectional.empty() && rows.branches.empty();
  });
  const bool plain =
      rules.softcap == 0.0 && !rules.alibi_slopes.defined() && (rules.window == 0 || rules.window >= tokens);
  if (one_shape && plain) {
    const auto split = [&](const at::Tensor& x, int64_t h) {
      return x.view({count, tokens, h, width}).transpose(1, 2);
    };
    return Attend(split(queries, heads), split(keys, key_heads), split(values, key_heads), {},
                  /*causal=*/true, Scale(rules, width))  // [B, H, T, C]
        .transpose(1, 2)
        .reshape({count * tokens, heads * width});
  }
  if (std::all_of(sequences.begin(), sequences.end(), [](const SequenceRows& rows) { return rows.cache == nullptr; })) {
    return AttendWithoutCaches(queries, keys, values, sequences, rules);
  }
  std::vector<at::Tensor> results;
  results.reserve(sequences.size());
  for (const SequenceRows& rows : sequences) {
    const at::Tensor q = queries.narrow(0, rows.begin, rows.count);
    const at::Tensor k = keys.narrow(0, rows.begin, rows.count);
    const at::Tensor v = values.narrow(0, rows.begin, rows.count);
    if (rows.cache != nullptr) {
      const KvCache::View all = rows.cache->Extend(layer, k, v);
      results.push_back(AttendToPast(q, all.keys, all.values, rows.bidirectional, rules));
    } else {
      results.push_back(AttendToPast(q, k.transpose(0, 1), v.transpose(0, 1), rows.bidirectional, rules));
    }
  }
  return results.size() == 1 ? results[0] : at::cat(results, 0);
}

}  // namespace blazon::language
