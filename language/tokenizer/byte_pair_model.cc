#include "language/tokenizer/byte_pair_model.h"

#include <algorithm>
#include <climits>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/byte_alphabet.h"
#include "language/tokenizer/unicode.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {
namespace {

constexpr uint32_t kNoSymbol = UINT32_MAX;
constexpr size_t kFew = 32;  // symbols up to which looking through all pairs is faster than a heap
constexpr int32_t kNoRank = INT_MAX;

std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(std::string(text.substr(0, 80))), "\"");
}

uint64_t PairKey(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

// Working memory of one thread, reused from piece to piece.
struct BytePairModel::Scratch {
  // Two neighbours that merge; stale once either has changed.
  struct Candidate {
    int32_t rank;
    uint32_t position, last;  // the left symbol's place, and Symbol::last of the right one
    TokenId result;
    bool operator<(const Candidate& other) const {  // the best comes out of the heap first: lowest rank, then leftmost
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<Merge> merges;  // of each symbol with the next
};

absl::StatusOr<std::unique_ptr<BytePairModel>> BytePairModel::Create(const BytePairConfig& config,
                                                                     std::shared_ptr<const Vocabulary> vocabulary,
                                                                     bool bytes) {
  const std::vector<std::string>& tokens = vocabulary->tokens();
  if (config.merges.size() > INT32_MAX) return absl::InvalidArgumentError("more merges than ranks");
  if (bytes && config.byte_fallback) return absl::InvalidArgumentError("byte fallback over a vocabulary of bytes");
  if (!config.scores.empty() && config.scores.size() != tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat(tokens.size(), " tokens, but ", config.scores.size(), " scores"));
  }
  std::unique_ptr<BytePairModel> model(new BytePairModel());
  model->bytes_ = bytes;
  model->fuse_unknown_ = config.fuse_unknown;
  model->byte_fallback_ = config.byte_fallback;
  model->ignore_merges_ = config.ignore_merges;
  model->prefix_ = config.continuing_subword_prefix;
  model->suffix_ = config.end_of_word_suffix;
  if (config.unknown) {
    model->unknown_ = vocabulary->Find(*config.unknown);
    if (!model->unknown_) {
      return absl::InvalidArgumentError(
          absl::StrCat("the unknown token ", Quoted(*config.unknown), " is not in the vocabulary"));
    }
  }
  model->fallback_tokens_ = FindByteTokens(*vocabulary);

  model->merges_.reserve(config.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < config.merges.size(); ++rank) {
    const auto& [left, right] = config.merges[rank];
    joined.assign(left);
    if (right.size() >= model->prefix_.size()) joined.append(right, model->prefix_.size());
    const std::optional<TokenId> left_id = vocabulary->Find(left), right_id = vocabulary->Find(right),
                                 result = vocabulary->Find(joined);
    if (!left_id || !right_id || !result) {
      if (vocabulary->IsHidden(left) || vocabulary->IsHidden(right) || vocabulary->IsHidden(joined)) continue;
      return absl::InvalidArgumentError(absl::StrCat("merge ", rank, " joins ", Quoted(left), " and ", Quoted(right),
                                                     "; these two and their join must all be in the vocabulary"));
    }
    model->merges_[PairKey(*left_id, *right_id)] = {static_cast<int32_t>(rank), *result};  // the last of equals counts
  }
  if (!config.scores.empty()) {
    std::vector<TokenId> order(tokens.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return config.scores[a] > config.scores[b]; });
    model->score_ranks_.assign(tokens.size(), -1);
    int32_t rank = 0;
    for (size_t i = 0; i < order.size(); ++i) {  // equal scores, equal ranks
      if (i > 0 && config.scores[order[i]] < config.scores[order[i - 1]]) ++rank;
      if (config.mergeable.empty() || config.mergeable[order[i]]) model->score_ranks_[order[i]] = rank;
    }
  }
  if (bytes && config.ignore_merges) {
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (std::optional<std::string> raw = FromByteAlphabet(tokens[id]); raw && !raw->empty())
        model->byte_words_[*std::move(raw)] = static_cast<TokenId>(id);
    }
  }
  model->vocabulary_ = std::move(vocabulary);
  for (size_t place = 0; place < 4; ++place) {
    for (int c = 0; c < (bytes ? 256 : 128); ++c) {
      std::string character;
      AppendUtf8(bytes ? ByteCharacter(static_cast<uint8_t>(c)) : c, &character);
      model->first_tokens_[place].push_back(model->FirstToken(character, place));
    }
  }
  return model;
}

// `character` as the vocabulary writes it.
TokenId BytePairModel::FirstToken(std::string_view character, size_t place) const {
  std::string spelling;
  if (place & 1) spelling += prefix_;
  spelling += character;
  if (place & 2) spelling += suffix_;
  return vocabulary_->Find(spelling).value_or(kNoToken);
}

void BytePairModel::AddSymbols(std::string_view piece, std::vector<Symbol>* symbols) const {
  symbols->clear();
  if (bytes_ && !unknown_) {  // bytes without a token are left out
    for (size_t at = 0; at < piece.size(); ++at) {
      const TokenId id = first_tokens_[Place(at == 0, at + 1 == piece.size())][static_cast<uint8_t>(piece[at])];
      const auto begin = static_cast<uint32_t>(at);
      if (id != kNoToken)
        symbols->push_back(
            {.id = id, .previous = kNoSymbol, .next = kNoSymbol, .begin = begin, .end = begin + 1, .last = 0});
    }
    return;
  }
  const bool keeps_unknown = !score_ranks_.empty();  // a character without a token may merge into one
  std::optional<Symbol> unknown;                     // what waits for the next known character
  const auto add = [&](TokenId id, size_t begin, size_t end) {
    symbols->push_back({.id = id,
                        .previous = kNoSymbol,
                        .next = kNoSymbol,
                        .begin = static_cast<uint32_t>(begin),
                        .end = static_cast<uint32_t>(end),
                        .last = 0});
  };
  const auto flush = [&] {
    if (unknown) symbols->push_back(*unknown);
    unknown.reset();
  };
  for (size_t begin = 0, end = 0; begin < piece.size(); begin = end) {
    end = begin + (bytes_ ? 1 : CharacterLength(piece[begin]));
    const auto lead = static_cast<unsigned char>(piece[begin]);
    const size_t place = Place(begin == 0, end == piece.size());
    const TokenId id = bytes_ || lead < 0x80 ? first_tokens_[place][lead]
                       : place == 0 || (prefix_.empty() && suffix_.empty())
                           ? vocabulary_->Find(piece.substr(begin, end - begin)).value_or(kNoToken)
                           : FirstToken(piece.substr(begin, end - begin), place);
    if (id != kNoToken || keeps_unknown) {
      flush();
      add(id, begin, end);
      continue;
    }
    if (byte_fallback_) {
      std::string spelling;
      if (place & 1) spelling += prefix_;
      spelling += piece.substr(begin, end - begin);
      if (place & 2) spelling += suffix_;
      if (std::all_of(spelling.begin(), spelling.end(),
                      [&](char c) { return fallback_tokens_[static_cast<uint8_t>(c)].has_value(); })) {
        for (const char c : spelling) add(*fallback_tokens_[static_cast<uint8_t>(c)], begin, end);
        continue;
      }
    }
    if (!unknown_) continue;
    if (unknown && !fuse_unknown_) flush();
    unknown = Symbol{.id = *unknown_,
                     .previous = kNoSymbol,
                     .next = kNoSymbol,
                     .begin = unknown ? unknown->begin : static_cast<uint32_t>(begin),
                     .end = static_cast<uint32_t>(end),
                     .last = 0};
  }
  flush();
}

BytePairModel::Merge BytePairModel::FindMerge(std::string_view piece, const Symbol& left, const Symbol& right) const {
  if (score_ranks_.empty()) {
    const auto found = merges_.find(PairKey(left.id, right.id));
    return found == merges_.end() ? Merge{kNoRank, kNoToken} : found->second;
  }
  const std::optional<TokenId> joined = vocabulary_->Find(piece.substr(left.begin, right.end - left.begin));
  if (!joined || score_ranks_[*joined] < 0) return {kNoRank, kNoToken};
  return {score_ranks_[*joined], *joined};
}

void BytePairModel::MergeFew(std::string_view piece, Scratch* scratch) const {
  std::vector<Symbol>& symbols = scratch->symbols;
  std::vector<Merge>& merges = scratch->merges;
  merges.resize(symbols.size());
  for (size_t i = 0; i + 1 < symbols.size(); ++i) merges[i] = FindMerge(piece, symbols[i], symbols[i + 1]);
  while (symbols.size() > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < symbols.size(); ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoRank) return;
    symbols[best].id = merges[best].result;
    symbols[best].end = symbols[best + 1].end;
    symbols.erase(symbols.begin() + best + 1);
    merges.erase(merges.begin() + best + 1);
    if (best > 0) merges[best - 1] = FindMerge(piece, symbols[best - 1], symbols[best]);
    if (best + 1 < symbols.size()) merges[best] = FindMerge(piece, symbols[best], symbols[best + 1]);
  }
}

void BytePairModel::MergeMany(std::string_view piece, Scratch* scratch) const {
  std::vector<Symbol>& symbols = scratch->symbols;
  std::vector<Scratch::Candidate>& heap = scratch->heap;
  heap.clear();
  for (uint32_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = i == 0 ? kNoSymbol : i - 1;
    symbols[i].next = i + 1 == symbols.size() ? kNoSymbol : i + 1;
    symbols[i].last = i;
  }
  const auto add_candidate = [&](uint32_t position) {
    const uint32_t next = symbols[position].next;
    if (next == kNoSymbol) return false;
    const Merge merge = FindMerge(piece, symbols[position], symbols[next]);
    if (merge.rank == kNoRank) return false;
    heap.push_back({merge.rank, position, symbols[next].last, merge.result});
    return true;
  };
  for (uint32_t position = 0; position < symbols.size(); ++position) add_candidate(position);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Scratch::Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.position];
    if (left.next == kNoSymbol || symbols[left.next].last != best.last) continue;  // stale
    Symbol& right = symbols[left.next];
    left.id = best.result;
    left.end = right.end;
    left.last = right.last;
    left.next = std::exchange(right.next, kNoSymbol);  // a symbol that is gone has no next
    if (left.next != kNoSymbol) symbols[left.next].previous = best.position;
    if (left.previous != kNoSymbol && add_candidate(left.previous)) std::push_heap(heap.begin(), heap.end());
    if (add_candidate(best.position)) std::push_heap(heap.begin(), heap.end());
  }
  // Only what is left, in order.
  size_t count = 0;
  for (uint32_t position = 0; position != kNoSymbol;) {
    const uint32_t next = symbols[position].next;
    symbols[count++] = symbols[position];
    position = next;
  }
  symbols.resize(count);
}

void BytePairModel::AppendBytes(std::string_view bytes, std::vector<TokenId>* ids) const {
  const bool all = std::all_of(bytes.begin(), bytes.end(),
                               [&](char c) { return fallback_tokens_[static_cast<uint8_t>(c)].has_value(); });
  if (byte_fallback_ && all) {
    for (const char c : bytes) ids->push_back(*fallback_tokens_[static_cast<uint8_t>(c)]);
  } else if (unknown_ && (!fuse_unknown_ || ids->empty() || ids->back() != *unknown_)) {
    ids->push_back(*unknown_);
  }
}

void BytePairModel::Encode(std::string_view piece, std::vector<TokenId>* ids) const {
  if (ignore_merges_) {
    if (bytes_) {
      if (const auto found = byte_words_.find(piece); found != byte_words_.end()) return ids->push_back(found->second);
    } else if (const std::optional<TokenId> whole = vocabulary_->Find(piece)) {
      return ids->push_back(*whole);
    }
  }
  if (bytes_ && piece.size() == 1) {  // many pieces are one digit or one mark
    const TokenId id = first_tokens_[Place(true, true)][static_cast<uint8_t>(piece[0])];
    if (id != kNoToken) return ids->push_back(id);
  }
  thread_local Scratch scratch;
  AddSymbols(piece, &scratch.symbols);
  if (scratch.symbols.empty()) return;
  if (scratch.symbols.size() <= kFew) {
    MergeFew(piece, &scratch);
  } else {
    MergeMany(piece, &scratch);
  }
  for (const Symbol& symbol : scratch.symbols) {
    if (symbol.id != kNoToken) {
      ids->push_back(symbol.id);
    } else {
      AppendBytes(piece.substr(symbol.begin, symbol.end - symbol.begin), ids);
    }
  }
  constexpr size_t kKeep = 1 << 16;  // a long run does not keep its memory
  if (scratch.symbols.capacity() > kKeep) scratch = Scratch();
}

}  // namespace blazon::language
