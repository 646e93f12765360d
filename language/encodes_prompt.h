// What a language model adds to LanguageModel when it reads a prompt whole before it writes: an encoder and a decoder.
#pragma once

#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

class EncodesPrompt {
 public:
  virtual ~EncodesPrompt() = default;

  // The token that follows the prompt; the answer begins behind it. The prompt before it is given as one bidirectional
  // span (ModelInput::bidirectional).
  virtual TokenId start_token() const = 0;
};

}  // namespace blazon::language
