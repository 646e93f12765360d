// Turns the bytes of generated tokens into text that may be shown: whole UTF-8 characters, and nothing of a stop
// string.
//
// All returned pieces, joined, are the bytes before the first stop string, with U+FFFD in place of what is not UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "language/tokenizer/tokenizer.h"

namespace blazon::language {

class TextStream {
 public:
  // begins_text: the first token begins a text of its own, so that it gives its FirstTokenBytes.
  explicit TextStream(std::vector<std::string> stop, bool begins_text = false);

  // Adds bytes and returns the text that is now certain. What may still become a stop string or a character is held
  // back. After a stop string nothing more is returned.
  std::string Push(std::string_view bytes);

  // The same with the bytes of a token; a control token has none.
  std::string Push(const Tokenizer& tokenizer, TokenId id);

  // The end of the bytes: returns what was held back.
  std::string Finish();

  bool stopped() const { return stopped_; }  // a stop string came

 private:
  const std::vector<std::string> stop_;
  std::string held_;
  bool at_beginning_;
  bool stopped_ = false;
};

}  // namespace blazon::language
