// A language model ready to serve: weights, tokenizer, chat template, and the one scheduler that steps them.
#pragma once

#include <memory>

#include "language/scheduler.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {

// Thread safety: as of its parts; nothing in it changes after loading.
struct LanguageRuntime {
  LoadedLanguageModel loaded;
  std::unique_ptr<language::Scheduler> scheduler;  // declared last: stops before the model goes
};

}  // namespace blazon::service
