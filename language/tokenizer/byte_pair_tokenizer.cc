#include "language/tokenizer/byte_pair_tokenizer.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

constexpr TokenId kNoToken = -1;

std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text.substr(0, 80)), "\"");
}

// GPT-2's byte alphabet: a printable character for every byte. Printable Latin-1 stands for itself, the rest follows
// from U+0100.
const std::array<int32_t, 256>& ByteAlphabet() {
  static const std::array<int32_t, 256> alphabet = [] {
    std::array<int32_t, 256> characters;
    int32_t next = 0x100;
    for (int32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      characters[byte] = printable ? byte : next++;
    }
    return characters;
  }();
  return alphabet;
}

// The bytes that `spelling` stands for; nullopt when it is not written in the byte alphabet.
std::optional<std::string> FromByteAlphabet(std::string_view spelling) {
  static const std::unordered_map<int32_t, char>& bytes = *[] {
    auto* const map = new std::unordered_map<int32_t, char>();
    for (int32_t byte = 0; byte < 256; ++byte) map->emplace(ByteAlphabet()[byte], static_cast<char>(byte));
    return map;
  }();
  std::string result;
  for (size_t position = 0; position < spelling.size();) {
    const auto found = bytes.find(NextCharacter(spelling, &position));
    if (found == bytes.end()) return std::nullopt;
    result.push_back(found->second);
  }
  return result;
}

enum class CharacterClass { kSpace, kLetter, kNumber, kOther };

CharacterClass Classify(int32_t character) {
  const uint32_t category = U_MASK(u_charType(character));
  if (category & U_GC_L_MASK) return CharacterClass::kLetter;
  if (category & U_GC_N_MASK) return CharacterClass::kNumber;
  return u_isUWhiteSpace(character) ? CharacterClass::kSpace : CharacterClass::kOther;
}

// The end of the run of characters of class `wanted` that begins at `position`.
size_t RunEnd(std::string_view text, size_t position, CharacterClass wanted) {
  while (position < text.size()) {
    size_t next = position;
    if (Classify(NextCharacter(text, &next)) != wanted) break;
    position = next;
  }
  return position;
}

// The end of the word that begins at `begin`: a scanner for GPT-2's pattern
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t WordEnd(std::string_view text, size_t begin) {
  if (text[begin] == '\'') {
    for (std::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
      if (text.substr(begin).starts_with(contraction)) return begin + contraction.size();
    }
  }
  // An optional space, then a run of one class.
  size_t run = begin + (text[begin] == ' ' ? 1 : 0);
  if (run < text.size()) {
    size_t next = run;
    const CharacterClass first = Classify(NextCharacter(text, &next));
    if (first != CharacterClass::kSpace) return RunEnd(text, next, first);
  }
  // White space; its last character is left to the word that follows.
  size_t end = begin, last = begin;
  while (end < text.size()) {
    size_t next = end;
    if (Classify(NextCharacter(text, &next)) != CharacterClass::kSpace) break;
    last = end;
    end = next;
  }
  return end == text.size() || last == begin ? end : last;
}

}  // namespace

// Working memory of one Encode, reused from word to word.
struct BytePairTokenizer::Scratch {
  static constexpr uint32_t kEnd = UINT32_MAX;
  // The word as a doubly linked list of tokens; a merged-away one has id kNoToken.
  struct Symbol {
    TokenId id;
    uint32_t previous, next;
  };
  // Two neighbours that merge; stale once either has changed.
  struct Candidate {
    int32_t rank;
    uint32_t position;
    TokenId left, right, result;
    bool operator<(const Candidate& other) const {  // the best comes out of the heap first: lowest rank, then leftmost
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

absl::StatusOr<std::unique_ptr<BytePairTokenizer>> BytePairTokenizer::Create(const BytePairVocabulary& vocabulary) {
  const size_t count = vocabulary.tokens.size();
  if (vocabulary.special.size() != count) {
    return absl::InvalidArgumentError(absl::StrCat(count, " tokens, but ", vocabulary.special.size(), " token types"));
  }
  if (count > INT32_MAX || vocabulary.merges.size() > INT32_MAX)
    return absl::InvalidArgumentError("more tokens or merges than ids");

  std::unique_ptr<BytePairTokenizer> tokenizer(new BytePairTokenizer());
  tokenizer->pre_tokenizer_ = vocabulary.pre_tokenizer;
  tokenizer->special_ = vocabulary.special;
  tokenizer->bytes_.reserve(count);
  tokenizer->ids_.reserve(count);
  std::fill(std::begin(tokenizer->byte_tokens_), std::end(tokenizer->byte_tokens_), kNoToken);
  std::vector<std::pair<std::string, TokenId>> specials;
  for (size_t i = 0; i < count; ++i) {
    const std::string& spelling = vocabulary.tokens[i];
    const TokenId id = static_cast<TokenId>(i);
    if (spelling.empty()) return absl::InvalidArgumentError(absl::StrCat("token ", i, " is empty"));
    if (!tokenizer->ids_.emplace(spelling, id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", i, ", ", Quoted(spelling), ", is in the vocabulary twice"));
    }
    if (vocabulary.special[i]) {
      specials.emplace_back(spelling, id);
      tokenizer->bytes_.push_back(spelling);
      continue;
    }
    std::optional<std::string> bytes = FromByteAlphabet(spelling);
    if (!bytes)
      return absl::InvalidArgumentError(
          absl::StrCat("token ", i, ", ", Quoted(spelling), ", is not written in GPT-2's byte alphabet"));
    if (bytes->size() == 1) tokenizer->byte_tokens_[static_cast<uint8_t>(bytes->front())] = id;
    tokenizer->bytes_.push_back(*std::move(bytes));
  }
  tokenizer->special_tokens_ = SpecialTokens(std::move(specials));

  tokenizer->merges_.reserve(vocabulary.merges.size());
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto& [left, right] = vocabulary.merges[rank];
    const auto left_id = tokenizer->ids_.find(left), right_id = tokenizer->ids_.find(right),
               result = tokenizer->ids_.find(left + right);
    if (left_id == tokenizer->ids_.end() || right_id == tokenizer->ids_.end() || result == tokenizer->ids_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("merge ", rank, " joins ", Quoted(left), " and ", Quoted(right),
                                                     "; these two and their join must all be in the vocabulary"));
    }
    const uint64_t key = static_cast<uint64_t>(left_id->second) << 32 | static_cast<uint32_t>(right_id->second);
    // Of two equal merges the better counts.
    tokenizer->merges_.emplace(key, Merge{static_cast<int32_t>(rank), result->second});
  }
  return tokenizer;
}

std::vector<TokenId> BytePairTokenizer::Encode(std::string_view text) const {
  std::vector<TokenId> ids;
  EncodePlain(text, &ids);
  return ids;
}

std::vector<TokenId> BytePairTokenizer::EncodeWithSpecials(std::string_view text) const {
  std::vector<TokenId> ids;
  special_tokens_.Split(
      text, [&](std::string_view plain) { EncodePlain(plain, &ids); }, [&](TokenId id) { ids.push_back(id); });
  return ids;
}

void BytePairTokenizer::EncodePlain(std::string_view text, std::vector<TokenId>* ids) const {
  std::string replaced;
  if (!IsValidUtf8(text)) text = replaced = ReplaceInvalidUtf8(text);
  Scratch scratch;
  const auto encode_words = [&](std::string_view part) {
    for (size_t begin = 0; begin < part.size();) {
      const size_t end = WordEnd(part, begin);
      EncodeWord(part.substr(begin, end - begin), &scratch, ids);
      begin = end;
    }
  };
  if (pre_tokenizer_ == PreTokenizer::kGpt2) return encode_words(text);
  size_t part = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    if (Classify(NextCharacter(text, &position)) != CharacterClass::kNumber) continue;
    encode_words(text.substr(part, begin - part));
    encode_words(text.substr(begin, position - begin));
    part = position;
  }
  encode_words(text.substr(part));
}

void BytePairTokenizer::EncodeWord(std::string_view word, Scratch* scratch, std::vector<TokenId>* ids) const {
  std::vector<Scratch::Symbol>& symbols = scratch->symbols;
  std::vector<Scratch::Candidate>& heap = scratch->heap;
  symbols.clear();
  heap.clear();
  for (const char byte : word) {
    const TokenId id = byte_tokens_[static_cast<uint8_t>(byte)];
    const uint32_t position = static_cast<uint32_t>(symbols.size());
    // Position 0: previous wraps round to kEnd.
    if (id != kNoToken) symbols.push_back({id, position - 1, position + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = Scratch::kEnd;

  const auto add_candidate = [&](uint32_t position) {
    const uint32_t next = symbols[position].next;
    if (next == Scratch::kEnd) return false;
    const TokenId left = symbols[position].id, right = symbols[next].id;
    const auto merge = merges_.find(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
    if (merge == merges_.end()) return false;
    heap.push_back({merge->second.rank, position, left, right, merge->second.result});
    return true;
  };
  for (uint32_t position = 0; position < symbols.size(); ++position) add_candidate(position);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Scratch::Candidate best = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[best.position];
    if (left.id != best.left || left.next == Scratch::kEnd || symbols[left.next].id != best.right) continue;  // stale
    Scratch::Symbol& right = symbols[left.next];
    left.id = best.result;
    left.next = right.next;
    right.id = kNoToken;
    if (left.next != Scratch::kEnd) symbols[left.next].previous = best.position;
    if (left.previous != Scratch::kEnd && add_candidate(left.previous)) std::push_heap(heap.begin(), heap.end());
    if (add_candidate(best.position)) std::push_heap(heap.begin(), heap.end());
  }
  for (uint32_t position = 0; position != Scratch::kEnd; position = symbols[position].next)
    ids->push_back(symbols[position].id);
}

std::string BytePairTokenizer::TokenBytes(TokenId id) const {
  return id >= 0 && id < vocabulary_size() ? bytes_[id] : std::string();
}

std::string BytePairTokenizer::Decode(absl::Span<const TokenId> ids, bool skip_special) const {
  std::string bytes;
  for (const TokenId id : ids) {
    if (id < 0 || id >= vocabulary_size() || (skip_special && special_[id])) continue;
    bytes += bytes_[id];
  }
  return ReplaceInvalidUtf8(bytes);
}

std::optional<TokenId> BytePairTokenizer::FindToken(std::string_view spelling) const {
  const auto found = ids_.find(std::string(spelling));
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

bool BytePairTokenizer::IsSpecial(TokenId id) const { return id >= 0 && id < vocabulary_size() && special_[id]; }

}  // namespace blazon::language
