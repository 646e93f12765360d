#include "language/training/decoder_network.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Functions.h>

#include "language/training/gpt2_network.h"
#include "language/training/llama_network.h"
#include "language/training/lstm_network.h"
#include "language/training/network_parts.h"

namespace blazon::language {

absl::StatusOr<std::unique_ptr<DecoderNetwork>> DecoderNetwork::Create(const NetworkConfig& config, uint64_t seed) {
  if (absl::Status status = CheckNetwork(config); !status.ok()) return status;
  at::manual_seed(seed);
  switch (config.blocks) {
    case Blocks::kGpt2:
    case Blocks::kPostNorm:
      return std::make_unique<Gpt2Network>(config, seed);
    case Blocks::kModern:
      return std::make_unique<LlamaNetwork>(config, seed);
    case Blocks::kLstm:
      break;
  }
  return std::make_unique<LstmNetwork>(config, seed);
}

at::Tensor DecoderNetwork::Loss(const at::Tensor& tokens, const at::Tensor& targets, bool training) const {
  return at::cross_entropy_loss(Logits(Forward(tokens, training)), targets.reshape({-1}));
}

}  // namespace blazon::language
