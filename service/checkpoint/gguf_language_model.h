// A language model's GGUF file as a Hugging Face checkpoint would say it: config keys, tensor names and row order.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/checkpoint/gguf.h"

namespace blazon::service {

// The architectures ("general.architecture") that are read, in alphabetical order.
std::vector<std::string> GgufArchitectures();

// The config.json that CreateLanguageModel (language_families.h) takes.
// kUnimplemented: another architecture, or something that Blazon does not compute (experts, partial rotation).
// kDataLoss: a value is missing or out of range. The message names it.
absl::StatusOr<nlohmann::json> ReadGgufConfig(const GgufFile& file);

// The weights under Hugging Face's names. Views of the mapped file where they lie there as they are used; the rows that
// GGUF's converter moved are moved back (whole rows, so blocks stay quantised), and the 1 that it added to Gemma's
// norms is taken off. kUnimplemented: as above, or a tensor of a type that is not read. kDataLoss: a tensor is missing,
// unknown, or does not divide into its heads. The message names it.
absl::StatusOr<language::StateDict> ReadGgufWeights(const GgufFile& file);

// The same names with tensors that have shapes and no values (LibTorch's meta device). Reads no weights.
absl::StatusOr<language::StateDict> ReadGgufShapes(const GgufFile& file);

}  // namespace blazon::service
