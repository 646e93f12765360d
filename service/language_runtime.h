// A language model ready to serve: weights, tokenizer, chat template, what it does with pictures, and the one scheduler
// that steps it.
#pragma once

#include <memory>

#include "language/scheduler.h"
#include "service/checkpoint/language_model_loader.h"

namespace blazon::service {

class CheckpointFamily;  // service/families/checkpoint_family.h

// Thread safety: as of its parts; nothing in it changes after loading.
struct LanguageRuntime {
  LoadedLanguageModel loaded;
  std::shared_ptr<const CheckpointFamily> pictures;  // null: a model of text
  std::unique_ptr<language::Scheduler> scheduler;    // declared last: stops before the model goes
};

}  // namespace blazon::service
