// A BERT encoder whose products with weights are computed in 8 bits (ops/int8_matrix.h) and whose attention in bf16
// (ops/encoder_kernels.h): several times as fast as fp32, and near enough to it for embeddings. embedder_test prints
// the cosines with vectors of fp32 on passages, and fails below 0.999.
//
// Shapes: T tokens, N tokens of all texts, D width, F width of the MLP.
// Thread safety: const after construction; each call works on the calling thread alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "language/models/bert_encoder.h"
#include "language/ops/int8_matrix.h"
#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

class Int8Bert {
 public:
  // encoder: its tensors are on the CPU; it need not outlive the result. Null where the processor has no such
  // instructions (HasEncoderKernels) or the encoder's sizes do not fit.
  static std::unique_ptr<Int8Bert> Create(const BertEncoder& encoder);

  // ids: [N], the tokens of texts of these lengths one after another, all of type 0, at most max_positions each.
  // states: [N, D], the last hidden states. A text's states do not depend on the other texts.
  void Encode(absl::Span<const TokenId> ids, absl::Span<const int64_t> lengths, float* states) const;

 private:
  struct Norm {
    std::vector<float> weight, bias;  // [D]
  };
  struct Layer {
    Int8Matrix query_key_value, attention_output, intermediate, output;
    Norm attention_norm, output_norm;
  };

  Int8Bert() = default;

  BertConfig config_;
  at::Tensor words_, positions_;  // [V, D], [P, D] fp32, shared with the encoder
  Norm norm_;
  std::vector<Layer> layers_;
};

}  // namespace blazon::language
