// Turns the bytes of generated tokens into text that may be shown: whole UTF-8 characters, and nothing of a stop
// string.
//
// All returned pieces, joined, are the bytes before the first stop string, with U+FFFD in place of what is not UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace blazon::language {

class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stop);

  // Adds bytes and returns the text that is now certain. What may still become a stop string or a character is held
  // back. After a stop string nothing more is returned.
  std::string Push(std::string_view bytes);

  // The end of the bytes: returns what was held back.
  std::string Finish();

  bool stopped() const { return stopped_; }  // a stop string came

 private:
  const std::vector<std::string> stop_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace blazon::language
