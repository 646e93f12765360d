// How a low-rank adapter is made. No tensors in here: the command line reads it too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace blazon::language {

struct LoraOptions {
  int64_t rank = 16;
  double alpha = 32;
  double dropout = 0.0;
  // scale = alpha / sqrt(rank), so that gradients do not shrink as the rank grows (Kalajdzievski 2023, arXiv
  // 2312.03732); else alpha / rank.
  bool rank_stabilised = false;
  // Names of linear layers, whole or from a dot on ("q_proj", "self_attn.q_proj"). Empty: all but the output matrix.
  std::vector<std::string> targets = {};
  uint64_t seed = 1;
};

}  // namespace blazon::language
