// Reads and writes safetensors files. Format: https://github.com/huggingface/safetensors#format
//
// Pickles (.pt, .pth, .bin, .ckpt) are refused: loading one runs code of whoever made it.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace blazon::service {

using TensorMap = std::map<std::string, at::Tensor>;

// The tensors of `path`, views of the mapped file (read-only: never write to them; the file must not be shortened while
// they live). F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL. `metadata`, when given, receives the header's
// "__metadata__".
// kNotFound: no such file. kInvalidArgument: a pickle; the message names the remedy. kDataLoss: the file breaks the
// format; the message says where. kUnimplemented: another dtype; the message names the tensor.
absl::StatusOr<TensorMap> ReadSafetensors(const std::filesystem::path& path,
                                          std::map<std::string, std::string>* metadata = nullptr);

// Writes `tensors` (any device and layout; the dtypes above) to `path`. Durable and all or nothing: a temporary file
// beside it, fsync, rename, fsync of the folder. The same input gives the same bytes.
absl::Status WriteSafetensors(const std::filesystem::path& path, const TensorMap& tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace blazon::service
