// How GGUF names the tensors of each architecture, and how its converter changed them: for reading and for writing.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace blazon::service {

// How the converter changed a tensor.
enum class GgufChange {
  kNone,
  kRotaryQueries,  // the two halves of each rotary head interleaved, row by row
  kRotaryKeys,
  kPlusOne,     // Gemma multiplies by 1 + weight; the file holds the sum
  kTransposed,  // GPT-2's Conv1D lies [inputs, outputs] in Hugging Face's files
  kFusedHeads,  // BLOOM's queries, keys and values, head by head there and apart here
};

struct GgufTensorName {
  const char* gguf;
  const char* hugging_face;
  GgufChange change = GgufChange::kNone;
  bool optional = false;
};

struct GgufArchitecture {
  const char* model_type;
  std::vector<GgufTensorName> whole;  // of the model
  std::vector<GgufTensorName> layer;  // after "blk.I." and `layer_prefix`I.
  const char* layer_prefix;
};

// By "general.architecture".
const std::map<std::string, GgufArchitecture>& GgufArchitectureTable();

}  // namespace blazon::service
