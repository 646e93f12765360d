// A language model with its tokenizer and chat template, from a Hugging Face folder or one GGUF file.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "language/chat_template.h"
#include "language/language_model.h"
#include "language/state_dict.h"
#include "language/tokenizer/tokenizer.h"
#include "service/checkpoint/weights_digest.h"

namespace blazon::service {

struct LoadedLanguageModel {
  std::unique_ptr<language::LanguageModel> model;
  std::unique_ptr<language::Tokenizer> tokenizer;
  // kFailedPrecondition: the checkpoint has none (a base model). kUnimplemented, kInvalidArgument: as
  // ChatTemplate::Parse.
  absl::StatusOr<language::ChatTemplate> chat_template;
  std::vector<language::TokenId> end_tokens;  // end of text, for SchedulerOptions::end_tokens
  std::string name;                           // general.name, or the file's or folder's name
  WeightsDigest digest;                       // "sha256:..." of the weights, perhaps still being computed
  std::string format;                         // how the weights are kept, for people: "Q4_1", "fp32", ...
  std::string warning = {};                   // what people should be told about the options; empty: nothing
};

struct LanguageModelLoadOptions {
  language::Dtype dtype = language::Dtype::kAuto;
  at::Device device = at::kCPU;          // one that OpenComputeDevice gave
  std::filesystem::path tokenizer = {};  // a folder with the tokenizer's files; empty: the model's own

  // For Hugging Face folders whose language model is a part of a larger one; the families of vision-language models set
  // these. Takes the language model out of config.json and the weights; null: the checkpoint is one of text.
  std::function<absl::StatusOr<std::unique_ptr<language::LanguageModel>>(
      const nlohmann::json& config, language::StateDict weights, const language::Placement& placement)>
      create = nullptr;
  std::vector<std::string> control_tokens = {};  // as of LoadTokenizer
  std::string chat_template = {};                // Jinja; empty: the one beside the tokenizer
};

// "fp32", "bf16" or "auto". kInvalidArgument otherwise; the message lists the three.
absl::StatusOr<language::Dtype> ParseDtype(std::string_view name);

// The one GGUF file of a folder. kNotFound: there is none. kInvalidArgument: there are several; the message names them.
absl::StatusOr<std::filesystem::path> FindGguf(const std::filesystem::path& folder);

// The Jinja text of a Hugging Face folder's chat template; empty: it has none. kDataLoss: a file is broken.
absl::StatusOr<std::string> ReadChatTemplateText(const std::filesystem::path& folder);

// path: a Hugging Face folder, a GGUF file, or a folder with one GGUF file.
// Dtype::kBf16 is done as asked, with a warning where the processor has no bf16 arithmetic of its own.
// kNotFound: no such file; kInvalidArgument, kDataLoss: it is broken, or its parts contradict each other;
// kUnimplemented: of a family, a tokenizer or a tensor type that Blazon does not read. The message names what was
// found. The weights stay mapped for as long as the model lives.
absl::StatusOr<LoadedLanguageModel> LoadLanguageModel(const std::filesystem::path& path,
                                                      const LanguageModelLoadOptions& options = {});

}  // namespace blazon::service
