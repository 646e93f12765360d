#include "service/cli/terminal_guard.h"

#include <cstddef>
#include <cstdint>
#include <iostream>

#include "absl/strings/str_format.h"
#include "service/cli/context.h"

namespace blazon::service::cli {
namespace {

bool ActsOnTerminal(uint32_t code) {
  return (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7f && code < 0xa0) ||
         (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

// Bytes of the UTF-8 character that begins so; 0: none does.
size_t LengthOf(unsigned char lead) {
  return lead < 0x80                   ? 1
         : lead >= 0xc2 && lead < 0xe0 ? 2
         : lead >= 0xe0 && lead < 0xf0 ? 3
         : lead >= 0xf0 && lead < 0xf5 ? 4
                                       : 0;
}

}  // namespace

TerminalGuard::TerminalGuard() {
  if (OutputIsTerminal()) out_ = std::cout.rdbuf(this);
}

TerminalGuard::~TerminalGuard() {
  if (out_ == nullptr) return;
  for (const char byte : held_) Write(absl::StrFormat("<%02X>", static_cast<unsigned char>(byte)));
  out_->pubsync();
  std::cout.rdbuf(out_);
}

TerminalGuard::int_type TerminalGuard::overflow(int_type next) {
  if (!traits_type::eq_int_type(next, traits_type::eof())) Put(traits_type::to_char_type(next));
  return failed_ ? traits_type::eof() : traits_type::not_eof(next);
}

int TerminalGuard::sync() { return out_->pubsync(); }

void TerminalGuard::Write(const std::string& text) {
  const auto size = static_cast<std::streamsize>(text.size());
  failed_ |= out_->sputn(text.data(), size) != size;
}

// Bytes that are no UTF-8 are shown one by one: a terminal may read 0x9B alone as the beginning of a sequence.
void TerminalGuard::Put(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  if (!held_.empty() && (value & 0xc0) != 0x80) {
    for (const char lost : held_) Write(absl::StrFormat("<%02X>", static_cast<unsigned char>(lost)));
    held_.clear();
  }
  if (held_.empty() && LengthOf(value) == 0) return Write(absl::StrFormat("<%02X>", value));
  held_ += byte;
  const size_t length = LengthOf(static_cast<unsigned char>(held_.front()));
  if (held_.size() < length) return;
  uint32_t code = static_cast<unsigned char>(held_.front()) & (length == 1 ? 0x7f : 0xff >> (length + 1));
  for (size_t i = 1; i < length; ++i) code = code << 6 | (static_cast<unsigned char>(held_[i]) & 0x3f);
  Write(ActsOnTerminal(code) ? absl::StrFormat("<U+%04X>", code) : held_);
  held_.clear();
}

}  // namespace blazon::service::cli
