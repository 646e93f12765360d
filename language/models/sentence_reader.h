// Reads a question beside a sentence: how well it answers, and whether it answers at all.
//
// A BERT encoder reads both, each by itself, and stays as it is. The reader is a trained copy of its last layers: the
// question's rows pass through them and attend to themselves and to the sentence's rows as the encoder left them before
// that layer; the sentence's rows do not change, so they cost nothing but keys and values. It splits a cross-encoder
// (Nogueira and Cho 2019, arXiv 1901.04085) at a layer as PreTTR does (MacAvaney et al. 2020, arXiv 2004.14255). What
// search already measured of the sentence comes in as features.
//
// Shapes: B pairs, Q tokens of a question, T tokens of a sentence (both [CLS] and [SEP] included), D width, H heads, L
// layers of the reader, F features.
// Thread safety: const after construction.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "language/models/bert_embedder.h"

namespace blazon::language {

// Pairs of a question and a sentence, padded to the longest.
struct ReaderBatch {
  at::Tensor question;                // [B, Q, D], the encoder's states before the first layer that is copied
  at::Tensor question_mask;           // [B, Q], 1 for a token, 0 for padding
  std::vector<at::Tensor> sentences;  // L of [B, T, D], before each of the layers
  at::Tensor sentence_mask;           // [B, T]
  at::Tensor features;                // [B, F], raw
};

// One text as BertEmbedder::States gives it, from the reader's first_layer() on: L of [., D].
using TextStates = std::vector<at::Tensor>;

// Pads and stacks pairs. questions[i] belongs to sentences[i] and to row i of features.
ReaderBatch PadPairs(absl::Span<const TextStates* const> questions, absl::Span<const TextStates* const> sentences,
                     const std::vector<std::vector<float>>& features);

class SentenceReader {
 public:
  // What the copied layers are called: the encoder's own names, "encoder.layer.I.attention.self.query.weight", I from
  // first_layer(); beside them "sentence_type" [L, D] (added to the sentence's states), "head.first" and "head.mean"
  // (weight [64, D], bias [64]), "head.out" (weight [2, 64], bias [2]), "features" (weight [2, F], bias [2]),
  // "feature_mean" and "feature_scale" [F].
  using Tensors = std::map<std::string, at::Tensor>;

  // kInvalidArgument: a tensor is missing, unknown or mis-shaped; the message names it. Keeps `tensors` as they are
  // when they are fp32, so that an optimiser can change them.
  static absl::StatusOr<std::unique_ptr<SentenceReader>> Create(const BertConfig& encoder, const Tensors& tensors);

  // Tensors to start training from: the encoder's last `layers` layers, heads drawn by `seed`, features standardised by
  // mean and scale (each [F]) and weighted by feature_weights ([2, F]).
  static Tensors Start(const BertEmbedder& encoder, int64_t layers, const at::Tensor& feature_mean,
                       const at::Tensor& feature_scale, const at::Tensor& feature_weights, uint64_t seed);

  int64_t first_layer() const { return first_layer_; }
  int64_t features() const { return features_; }
  const Tensors& tensors() const { return tensors_; }

  // [B, 2]: what to order sentences by, and the logit of "this sentence answers". Differentiable in tensors() when
  // gradients are on. dropout: applied to each layer's two outputs and to the head; unset: none.
  at::Tensor Forward(const ReaderBatch& batch, const std::function<at::Tensor(const at::Tensor&)>& dropout = {}) const;

 private:
  SentenceReader() = default;

  Tensors tensors_;
  int64_t first_layer_ = 0, layers_ = 0, heads_ = 0, width_ = 0, features_ = 0;
  double norm_epsilon_ = 1e-12;
};

}  // namespace blazon::language
