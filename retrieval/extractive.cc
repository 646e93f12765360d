#include "retrieval/extractive.h"

#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <set>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\t'; }

// After these a full stop does not end a sentence although a capital or a figure follows.
bool EndsWithAbbreviation(std::string_view text) {
  static const auto* abbreviations = new absl::flat_hash_set<std::string_view>{
      "mr",  "mrs", "ms",  "dr",  "prof", "st",  "sr",  "jr",     "vs",   "no",  "nos",  "fig", "figs", "eq",
      "sec", "ch",  "vol", "pp",  "p",    "ca",  "cf",  "e.g",    "i.e",  "al",  "ed",   "eds", "gen",  "col",
      "lt",  "sgt", "rev", "hon", "gov",  "sen", "rep", "approx", "min",  "max", "dept", "est", "inc",  "ltd",
      "jan", "feb", "mar", "apr", "jun",  "jul", "aug", "sep",    "sept", "oct", "nov",  "dec", "resp", "tel"};
  if (text.empty() || text.back() != '.') return false;
  text.remove_suffix(1);
  const size_t start = text.find_last_of(" \n\t([{\"'");
  const std::string_view word = start == std::string_view::npos ? text : text.substr(start + 1);
  if (word.empty()) return false;
  if (word.size() == 1 && absl::ascii_isalpha(static_cast<unsigned char>(word[0])))
    return absl::ascii_isupper(static_cast<unsigned char>(word[0]));
  // The figure of a list item: "1." at the start.
  if (start == std::string_view::npos && word.size() <= 3 && std::all_of(word.begin(), word.end(), absl::ascii_isdigit))
    return true;
  return abbreviations->contains(absl::AsciiStrToLower(std::string(word)));
}

bool StartsListItem(std::string_view line) {
  const size_t start = line.find_first_not_of(" \t");
  if (start == std::string_view::npos) return false;
  line.remove_prefix(start);
  if (line.size() > 1 && (line[0] == '-' || line[0] == '*' || line[0] == '+') && line[1] == ' ') return true;
  if (line.starts_with("\xe2\x80\xa2")) return true;  // bullet
  const size_t figures = line.find_first_not_of("0123456789");
  return figures != std::string_view::npos && figures >= 1 && figures <= 3 &&
         (line[figures] == '.' || line[figures] == ')') && figures + 1 < line.size() && line[figures + 1] == ' ';
}

// Whether the break between two lines of a paragraph ends a sentence.
bool LineEndsSentence(std::string_view line, std::string_view next) {
  // A short line before a capital or a figure is a heading, a verse or an entry, not wrapped text.
  constexpr size_t kShortLine = 50;
  if (StartsListItem(next) || line.find('|') != std::string_view::npos || line.find('\t') != std::string_view::npos)
    return true;
  const size_t start = next.find_first_not_of(" \t");
  if (start == std::string_view::npos) return true;
  const unsigned char first = static_cast<unsigned char>(next[start]);
  return line.size() < kShortLine && (absl::ascii_isupper(first) || absl::ascii_isdigit(first));
}

void SplitBlock(std::string_view text, Span block, icu::BreakIterator& iterator, std::vector<Span>& sentences) {
  // UAX #29 ends a sentence at every line break; in a block there are only breaks that do not.
  std::string flat(text.substr(block.begin, block.size()));
  std::replace(flat.begin(), flat.end(), '\n', ' ');
  UErrorCode error = U_ZERO_ERROR;
  UText* handle = utext_openUTF8(nullptr, flat.data(), static_cast<int64_t>(flat.size()), &error);
  iterator.setText(handle, error);
  size_t begin = 0;
  const auto add = [&](size_t end) {
    Span span{block.begin + begin, block.begin + end};
    while (span.begin < span.end && IsBlank(text[span.begin])) ++span.begin;
    while (span.end > span.begin && IsBlank(text[span.end - 1])) --span.end;
    if (span.size() > 0) sentences.push_back(span);
    begin = end;
  };
  if (U_SUCCESS(error)) {
    iterator.first();
    for (int32_t end = iterator.next(); end != icu::BreakIterator::DONE; end = iterator.next()) {
      const std::string_view sentence =
          StripWhitespace(std::string_view(flat).substr(begin, static_cast<size_t>(end) - begin));
      if (static_cast<size_t>(end) < flat.size() && EndsWithAbbreviation(sentence)) continue;
      add(static_cast<size_t>(end));
    }
  }
  if (begin < flat.size()) add(flat.size());
  utext_close(handle);
}

// A question, and which rows of vectors.pieces its words are.
struct AskedWords {
  std::vector<std::string> pieces;
  PieceVectors vectors;
  std::vector<size_t> content, question;
};

absl::StatusOr<AskedWords> ReadQuestion(const std::string& question, const Embedder& embedder) {
  AskedWords asked;
  asked.pieces = SplitWords(question);
  absl::StatusOr<std::vector<PieceVectors>> vectors = embedder.embed_pieces({&asked.pieces, 1});
  if (!vectors.ok()) return vectors.status();
  asked.vectors = std::move(vectors->at(0));
  std::vector<size_t> others;
  for (size_t i = 0; i < asked.pieces.size(); ++i) {
    const WordKind kind = KindOf(asked.pieces[i]);
    if (kind == WordKind::kContent) asked.content.push_back(i);
    if (kind == WordKind::kQuestion) asked.question.push_back(i);
    if (kind == WordKind::kFunction) others.push_back(i);
  }
  if (asked.content.empty()) asked.content = others.empty() ? asked.question : others;
  return asked;
}

// Fills the figures of a sentence of `chunk` whose text has these pieces.
void Compare(const AskedWords& asked, const ScoredChunk& chunk, const std::vector<std::string>& pieces,
             const PieceVectors& vectors, ScoredSentence& sentence) {
  const size_t dimension = vectors.text.size();
  const auto row = [dimension](const std::vector<float>& rows, size_t i) { return rows.data() + i * dimension; };
  const auto similarity = [dimension](const float* a, const float* b) {
    return std::inner_product(a, a + dimension, b, 0.0);
  };
  std::vector<size_t> told;  // which pieces are words
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (KindOf(pieces[i]) != WordKind::kGap) told.push_back(i);
  }
  const auto nearest = [&](size_t word) {  // of the sentence, to a word of the question
    double best = -1;
    for (const size_t i : told)
      best = std::max(best, similarity(row(asked.vectors.pieces, word), row(vectors.pieces, i)));
    return best;
  };
  // The title names what the whole document is about; its sentences do not say it again.
  constexpr double kInTitle = 0.7;
  const std::vector<std::string> title = Words(chunk.title);
  const auto in_title = [&](size_t word) {
    return absl::c_all_of(Words(asked.pieces[word]),
                          [&](const std::string& part) { return absl::c_linear_search(title, part); });
  };
  sentence.cosine = similarity(asked.vectors.text.data(), vectors.text.data());
  sentence.content = sentence.weakest = sentence.cosine;  // of a question without words
  if (!asked.content.empty()) {
    sentence.content = 0;
    sentence.weakest = 1;
    for (const size_t word : asked.content) {
      const bool known = in_title(word);
      const double best = known ? std::max(nearest(word), kInTitle) : nearest(word);
      sentence.content += best / static_cast<double>(asked.content.size());
      if (!known) sentence.weakest = std::min(sentence.weakest, best);
    }
  }
  sentence.question_words = asked.question.empty() ? sentence.content : 0;
  for (const size_t word : asked.question)
    sentence.question_words += nearest(word) / static_cast<double>(asked.question.size());
  sentence.score = (sentence.content + sentence.cosine + chunk.cosine) / 3;
  sentence.confidence = std::clamp((sentence.weakest + sentence.question_words + sentence.cosine / 2) / 2.5, 0.0, 1.0);
}

}  // namespace

std::vector<Span> SplitSentences(std::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> iterator(
      icu::BreakIterator::createSentenceInstance(icu::Locale::getRoot(), error));
  std::vector<Span> sentences;
  if (U_FAILURE(error)) {  // ICU's data is missing: a broken installation; the whole text is one sentence
    if (!text.empty()) sentences.push_back({0, text.size()});
    return sentences;
  }
  Span block{0, 0};
  size_t line_begin = 0;
  while (line_begin < text.size()) {
    const size_t line_end = std::min(text.find('\n', line_begin), text.size());
    const size_t next_begin = std::min(line_end + 1, text.size());
    const std::string_view line = text.substr(line_begin, line_end - line_begin);
    const std::string_view next =
        text.substr(next_begin, std::min(text.find('\n', next_begin), text.size()) - next_begin);
    block.end = line_end;
    if (next_begin == text.size() || StripWhitespace(line).empty() || StripWhitespace(next).empty() ||
        LineEndsSentence(line, next)) {
      SplitBlock(text, block, *iterator, sentences);
      block = {next_begin, next_begin};
    }
    line_begin = next_begin;
  }
  return sentences;
}

absl::StatusOr<std::vector<ScoredSentence>> RankSentences(const std::string& question,
                                                          absl::Span<const ScoredChunk> chunks,
                                                          const Embedder& embedder, const RankOptions& options) {
  absl::StatusOr<AskedWords> asked = ReadQuestion(question, embedder);
  if (!asked.ok()) return asked.status();
  std::vector<ScoredSentence> sentences;
  std::vector<std::vector<std::string>> texts;  // in words and gaps
  std::set<std::tuple<std::string, size_t, size_t>> seen;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const ScoredChunk& chunk = chunks[i];
    for (const Span& span : SplitSentences(chunk.text)) {
      if (sentences.size() == options.max_sentences) break;
      const Span place{chunk.span.begin + span.begin, chunk.span.begin + span.end};
      if (!seen.emplace(chunk.document_id, place.begin, place.end).second) continue;
      sentences.push_back({i, chunk.document_id, place, chunk.text.substr(span.begin, span.size()), "", {}});
      // Title and headings say what "it" in a sentence is; they are left out where they would not fit.
      const std::string context =
          absl::StrCat(chunk.title, chunk.title.empty() || chunk.heading_path.empty() ? "" : " > ", chunk.heading_path);
      std::string text = context.empty() ? sentences.back().text : absl::StrCat(context, ": ", sentences.back().text);
      if (embedder.count_tokens(text) > embedder.max_tokens) text = sentences.back().text;
      texts.push_back(SplitWords(text));
      sentences.back().passage = std::move(text);
    }
  }

  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return texts[a].size() < texts[b].size(); });
  constexpr size_t kBatch = 32;
  std::vector<std::vector<std::string>> batch;
  for (size_t begin = 0; begin < order.size(); begin += batch.size()) {
    batch.clear();
    for (size_t i = begin; i < std::min(begin + kBatch, order.size()); ++i) batch.push_back(texts[order[i]]);
    absl::StatusOr<std::vector<PieceVectors>> vectors = embedder.embed_pieces(batch);
    if (!vectors.ok()) return vectors.status();
    if (vectors->size() != batch.size()) return absl::InternalError("the embedder returned a wrong number of vectors");
    for (size_t i = 0; i < batch.size(); ++i) {
      ScoredSentence& sentence = sentences[order[begin + i]];
      Compare(*asked, chunks[sentence.chunk_index], batch[i], (*vectors)[i], sentence);
      sentence.vector = std::move((*vectors)[i].text);
    }
  }
  std::stable_sort(sentences.begin(), sentences.end(),
                   [](const ScoredSentence& a, const ScoredSentence& b) { return a.score > b.score; });
  if (sentences.size() > options.count) sentences.resize(options.count);
  return sentences;
}

}  // namespace blazon::retrieval
