// An LSTM language model (Hochreiter and Schmidhuber 1997; Zaremba et al. 2014, arXiv 1409.2329), to be trained, for
// comparison with transformers: embedding, layers of nn.LSTM, output.
#pragma once

#include <vector>

#include "language/training/network_parts.h"

namespace blazon::language {

class LstmNetwork final : public DecoderNetwork {
 public:
  // The layers' weights uniform within 1 / sqrt(D), as PyTorch's. config: checked; it computes in fp32 always.
  LstmNetwork(const NetworkConfig& config, uint64_t seed);

  at::Tensor Forward(const at::Tensor& tokens, bool training) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  at::Tensor embedding_;          // [V, D]
  std::vector<at::Tensor> lstm_;  // of each layer: weight_ih [4D, D], weight_hh [4D, D], bias_ih, bias_hh [4D]
  TrainedLinear head_;            // [V, D]
};

}  // namespace blazon::language
