// SentencePiece's table of replacements: which short strings become which, as a double-array trie (Aoe 1989) and a blob
// of the results. Found in tokenizer.json as "precompiled_charsmap" and in GGUF files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::language {

// Thread safety: const after construction.
class PrecompiledCharsmap {
 public:
  // `table`: the bytes behind the base64. kInvalidArgument: sizes that contradict each other.
  static absl::StatusOr<PrecompiledCharsmap> Create(std::string_view table);

  // `text` with each grapheme of less than 6 bytes replaced by its entry, or else each of its characters, as the
  // `tokenizers` package does. What has no entry stays. *lost_first: the first character left no trace.
  std::string Apply(std::string_view text, bool* lost_first) const;

 private:
  PrecompiledCharsmap() = default;
  // The entry of the shortest prefix of `part` that has one; nullopt: none.
  std::optional<std::string_view> Find(std::string_view part) const;

  std::vector<uint32_t> units_;
  std::string results_;  // each ends with NUL
};

}  // namespace blazon::language
