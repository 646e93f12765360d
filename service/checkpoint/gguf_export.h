// A checkpoint written as one GGUF file, for llama.cpp and all that reads its files.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"

namespace blazon::service {

enum class GgufEncoding { kF32, kF16, kQ8_0 };

struct GgufExportOptions {
  // Of the matrices; one whose rows are not a multiple of 32 values stays F16 with kQ8_0. Vectors are F32.
  GgufEncoding encoding = GgufEncoding::kF16;
  std::filesystem::path
      adapter;  // a LoRA adapter's folder (adapter_folder.h) that is added to the weights; empty: none
};

// Writes the model at `path` (a Hugging Face folder or a GGUF file) to `file`, durably and all or nothing. The
// architectures are GPT-2, Llama, Mistral, Qwen2 and Qwen3, as far as llama.cpp computes what the config asks for; the
// tokenizer is taken over from a GGUF file, and from a folder's
// tokenizer.json when it is byte-level BPE that cuts text as one of the families does which GGUF has a name for.
// kUnimplemented: another architecture, tokenizer or option of one. kAlreadyExists: `file` is there.
// Otherwise as LoadLanguageModel and ReadAdapter. The message names what is wrong.
absl::Status ExportGguf(const std::filesystem::path& path, const std::filesystem::path& file,
                        const GgufExportOptions& options);

}  // namespace blazon::service
