// The shape of a language model that is trained from nothing. No tensors in here: the command line reads it too.
#pragma once

#include <cstdint>

namespace blazon::language {

enum class Blocks {
  kGpt2,      // LayerNorm before each part, learned positions, GELU (Radford et al. 2019); loads as "gpt2"
  kPostNorm,  // LayerNorm behind each sum, as in the first GPT (Radford et al. 2018); loads as "openai-gpt"
  kModern,    // RMSNorm, rotary positions, SwiGLU (Touvron et al. 2023, arXiv 2302.13971); loads as "llama"
  kLstm,      // Hochreiter and Schmidhuber 1997; as PyTorch's nn.LSTM has it; loads as "blazon_lstm", in Blazon only
};

struct NetworkConfig {
  Blocks blocks = Blocks::kGpt2;
  int64_t layers = 6;
  int64_t heads = 6;            // divides the width; not for an LSTM
  int64_t width = 384;          // of embeddings and blocks; a multiple of 2 * heads with modern blocks
  int64_t mlp_width = 0;        // 0: 4 * width; modern: 8/3 * width, rounded up to a multiple of 32
  int64_t context = 256;        // tokens of a row at most
  int64_t vocabulary_size = 0;  // at least 2
  double dropout = 0.0;         // share of the values dropped: of embeddings, attention weights and each part's output
  bool tie_embeddings = true;   // one matrix for embedding and output
  bool bf16 = false;            // matrix products of both passes in bf16; weights, sums and norms stay fp32
};

}  // namespace blazon::language
