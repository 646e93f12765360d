// Writes language models as Hugging Face folders, which transformers and LoadLanguageModel read.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "language/language_model.h"

namespace blazon::service {

// config.json, the tokenizer's files, generation_config.json and model.safetensors (fp32, the names and row order of
// transformers) in `folder`, which is made when missing; files of these names are replaced.
// model: dense fp32. base: the checkpoint that it was loaded from, a Hugging Face folder or a GGUF file or a folder
// with one; config and tokenizer are taken from there.
// kUnimplemented: a GGUF's tokenizer is not byte-level BPE as GPT-2's or SmolLM's; the message names it.
absl::Status WriteModelFolder(const std::filesystem::path& folder, const language::LanguageModel& model,
                              const std::filesystem::path& base, const std::map<std::string, std::string>& notes = {});

}  // namespace blazon::service
