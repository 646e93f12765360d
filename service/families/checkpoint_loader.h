// Any checkpoint that Blazon runs, of text or of text and pictures, ready for a scheduler.
#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "service/checkpoint/language_model_loader.h"
#include "service/families/checkpoint_family.h"

namespace blazon::service {

struct LoadedCheckpoint {
  LoadedLanguageModel language;
  std::shared_ptr<const CheckpointFamily> pictures;  // null: a model of text. Goes before `language` does
};

// Whether `path` is a Hugging Face folder whose config is that of a vision-language model. Reads config.json alone;
// false where that cannot be read.
bool SeesPictures(const std::filesystem::path& path);

// As LoadLanguageModel; of `options` dtype, device and tokenizer are the caller's. A vision-language folder holds
// besides: preprocessor_config.json or processor_config.json (nanoVLM: neither), and a chat template where it takes
// conversations (chat_template.jinja, chat_template.json, processor_config.json or tokenizer_config.json, the first
// that has one; nanoVLM: lm_chat_template of config.json). nanoVLM's folders have no tokenizer: theirs is that of
// lm_tokenizer, with the control tokens of vlm_extra_tokens behind it.
// kNotFound: also a folder without preprocessor config or tokenizer; the message names the file and the remedy.
absl::StatusOr<LoadedCheckpoint> LoadCheckpoint(const std::filesystem::path& path,
                                                const LanguageModelLoadOptions& options = {});

}  // namespace blazon::service
