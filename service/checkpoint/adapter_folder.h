// Low-rank adapters in the layout of Hugging Face's PEFT: a folder with adapter_config.json and
// adapter_model.safetensors, tensors "base_model.model.MODULE.lora_A.weight" [r, in] and ".lora_B.weight" [out, r].
// https://huggingface.co/docs/peft/developer_guides/checkpoint
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/training/lora.h"

namespace blazon::service {

// The adapter in `folder`, for `model`, in fp32 and on its device; its name is the folder's.
// kNotFound: a file is missing. kInvalidArgument: it is no LoRA adapter, a pickle (adapter_model.bin), or made for
// another model. kUnimplemented: it has what Blazon does not compute (DoRA, trained biases or embeddings, patterns that
// are regular expressions). kDataLoss: a file is broken. The message names the file and what is wrong.
absl::StatusOr<std::shared_ptr<language::Adapter>> ReadAdapter(const std::filesystem::path& folder,
                                                               const language::LanguageModel& model);

// Writes it so that PEFT and ReadAdapter load it. folder: made when missing; files of the two names are replaced, the
// weights durably and all or nothing. options: what the adapter was made with. base: what base_model_name_or_path says.
// notes: for the safetensors' metadata. half: the matrices are rounded to fp16, which halves the file.
absl::Status WriteAdapter(const std::filesystem::path& folder, const language::Adapter& adapter,
                          const language::LanguageModel& model, const language::LoraOptions& options,
                          const std::string& base, const std::map<std::string, std::string>& notes = {},
                          bool half = false);

}  // namespace blazon::service
