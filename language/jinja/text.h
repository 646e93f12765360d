// A string that knows which of its bytes came from data (messages, roles, tools) and which from the template.
//
// Every operation of the evaluator builds its result from parts of its operands with Append, so the mark follows each
// byte through concatenation, slicing, trimming, replacing, case mapping and JSON. Text is UTF-8; a position is a byte.
// Thread safety: as a standard container.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace blazon::language::jinja {

class Text {
 public:
  Text() = default;
  Text(std::string_view bytes, bool is_data) { Append(bytes, is_data); }

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  // Whether the byte at `position` (inside the text) is data.
  bool IsData(size_t position) const;
  // Whether any byte is.
  bool HasData() const;

  void Append(std::string_view bytes, bool is_data);
  void Append(const Text& other) { Append(other, 0, other.size()); }
  // The bytes [begin, end) of `other`, with their marks. `other` may be *this.
  void Append(const Text& other, size_t begin, size_t end);

  Text Part(size_t begin, size_t end) const;

  struct Run {
    size_t end;  // where the run ends and the next one begins
    bool is_data;
  };
  // In order, neighbours differ, the last one ends at size(); none for an empty text.
  const std::vector<Run>& runs() const { return runs_; }

 private:
  size_t RunAt(size_t position) const;

  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace blazon::language::jinja
