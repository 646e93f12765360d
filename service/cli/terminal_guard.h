// Text of documents and models on a terminal: what would act on it is shown instead.
#pragma once

#include <streambuf>
#include <string>

namespace blazon::service::cli {

// While it lives, what is written to std::cout, when that is a terminal, has control characters (all but tab and line
// break; an escape sequence can move the cursor over what was printed, or set the window's title) and marks that turn
// the direction of text around (U+202A to U+202E, U+2066 to U+2069) written as "<U+001B>". Files and pipes get the
// bytes as they are.
//
// Thread safety: one thread at a time writes to std::cout.
class TerminalGuard : public std::streambuf {
 public:
  TerminalGuard();
  ~TerminalGuard() override;  // writes what is left
  TerminalGuard(const TerminalGuard&) = delete;
  TerminalGuard& operator=(const TerminalGuard&) = delete;

 protected:
  int_type overflow(int_type next) override;
  int sync() override;

 private:
  void Put(char byte);
  void Write(const std::string& text);

  std::streambuf* out_ = nullptr;  // null: nothing is guarded
  std::string held_;               // the beginning of a character
  bool failed_ = false;            // what was written did not arrive
};

}  // namespace blazon::service::cli
