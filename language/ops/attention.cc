#include "language/ops/attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <optional>

namespace blazon::language {
namespace {

constexpr int64_t kFirstRoom = 128;  // tokens

// queries: [B, H, T, C]; keys, values: [B, K, L, C]. mask: bool [T, L] or undefined. Returns [B, H, T, C].
at::Tensor Attend(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& mask,
                  bool causal) {
  return at::scaled_dot_product_attention(queries, keys, values,
                                          mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt,
                                          /*dropout_p=*/0.0, causal, /*scale=*/std::nullopt,
                                          /*enable_gqa=*/queries.size(1) != keys.size(1));
}

// One sequence whose last T of L tokens are new. queries: [T, H, C]; keys, values: [K, L, C]. Returns [T, H * C].
at::Tensor AttendToPast(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
  const int64_t tokens = queries.size(0), heads = queries.size(1), width = queries.size(2);
  const int64_t key_heads = keys.size(0), length = keys.size(1);
  if (tokens == 1) {  // the heads that share a key head are its query rows
    const at::Tensor grouped = queries.reshape({1, key_heads, heads / key_heads, width});
    return Attend(grouped, keys.unsqueeze(0), values.unsqueeze(0), {}, /*causal=*/false).reshape({1, heads * width});
  }
  at::Tensor mask;
  if (tokens < length) mask = at::ones({tokens, length}, at::kBool).tril(length - tokens);
  const at::Tensor result = Attend(queries.transpose(0, 1).unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0), mask,
                                   /*causal=*/!mask.defined());  // [1, H, T, C]
  return result.squeeze(0).transpose(0, 1).reshape({tokens, heads * width});
}

}  // namespace

KvCache::KvCache(int64_t layers, int64_t key_heads, int64_t head_width, int64_t max_length, at::ScalarType type)
    : key_heads_(key_heads), head_width_(head_width), max_length_(max_length), type_(type), layers_(layers) {}

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
    View grown{at::empty({key_heads_, wanted, head_width_}, type_),
               at::empty({key_heads_, wanted, head_width_}, type_)};
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

at::Tensor CausalAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                           absl::Span<const SequenceRows> sequences, int64_t layer) {
  const int64_t heads = queries.size(1), width = queries.size(2), key_heads = keys.size(1);
  const int64_t count = static_cast<int64_t>(sequences.size()), tokens = sequences[0].count;
  const bool one_shape = std::all_of(sequences.begin(), sequences.end(), [&](const SequenceRows& rows) {
    return rows.cache == nullptr && rows.count == tokens;
  });
  if (one_shape) {
    const auto split = [&](const at::Tensor& x, int64_t h) {
      return x.view({count, tokens, h, width}).transpose(1, 2);
    };
    return Attend(split(queries, heads), split(keys, key_heads), split(values, key_heads), {},
                  /*causal=*/true)  // [B, H, T, C]
        .transpose(1, 2)
        .reshape({count * tokens, heads * width});
  }
  std::vector<at::Tensor> results;
  results.reserve(sequences.size());
  for (const SequenceRows& rows : sequences) {
    const at::Tensor q = queries.narrow(0, rows.begin, rows.count);
    const at::Tensor k = keys.narrow(0, rows.begin, rows.count);
    const at::Tensor v = values.narrow(0, rows.begin, rows.count);
    if (rows.cache != nullptr) {
      const KvCache::View all = rows.cache->Extend(layer, k, v);
      results.push_back(AttendToPast(q, all.keys, all.values));
    } else {
      results.push_back(AttendToPast(q, k.transpose(0, 1), v.transpose(0, 1)));
    }
  }
  return results.size() == 1 ? results[0] : at::cat(results, 0);
}

}  // namespace blazon::language
