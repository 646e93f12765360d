#include "service/answer_support.h"

#include <algorithm>
#include <numeric>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "retrieval/extractive.h"
#include "retrieval/word_analyzer.h"
#include "retrieval/words.h"
#include "service/answer_evidence.h"

namespace blazon::service {
namespace {

// Chosen on tests/reference/dev_support.tsv; answers_test prints what they come to.
constexpr double kSupportedFrom = 0.6;
constexpr double kAskedWeight = 0.3;  // of a word that the question has
constexpr double kNameWeight = 2;     // of a number, and of a word with a capital that does not begin the sentence
constexpr double kMeaningFrom = 0.35, kMeaningFull = 0.85;  // cosines that count nothing and fully
constexpr double kMeaningShare = 0.5;                       // of the score, where words alone do not give more
constexpr double kLeastPart = 0.4;                          // of a citation that does not bear the sentence out alone
constexpr double kLeastShare = 0.3;                         // of the whole, that a further citation must add

using Terms = absl::flat_hash_set<std::string>;

// The stems of its content words.
Terms StemsOfContent(std::string_view text) {
  Terms terms;
  retrieval::WordAnalyzer analyzer;
  for (const std::string& word : retrieval::ContentWords(text))
    analyzer.Analyze(word, [&](std::string_view term) { terms.emplace(term); });
  return terms;
}

// What a sentence of an answer says, piece by piece.
struct Claim {
  std::string term;
  double weight = 1;
  bool number = false;  // must stand in a source as it is written
};

std::vector<Claim> ClaimsOf(std::string_view question, std::string_view sentence) {
  std::vector<Claim> claims;
  for (const std::string_view number : NumbersIn(sentence)) claims.push_back({std::string(number), kNameWeight, true});
  const Terms asked = StemsOfContent(question);
  Terms names;
  retrieval::WordAnalyzer analyzer;
  bool first = true;
  for (const std::string& piece : retrieval::SplitWords(sentence)) {
    if (retrieval::KindOf(piece) == retrieval::WordKind::kGap) continue;
    if (!first && absl::ascii_isupper(static_cast<unsigned char>(piece[0])))
      analyzer.Analyze(piece, [&](std::string_view term) { names.emplace(term); });
    first = false;
  }
  const Terms stems = StemsOfContent(sentence);
  std::vector<std::string> sorted(stems.begin(), stems.end());
  std::sort(sorted.begin(), sorted.end());  // sums do not depend on the set's order
  for (std::string& term : sorted) {
    if (absl::c_all_of(term, absl::ascii_isdigit)) continue;
    const double weight = asked.contains(term) ? kAskedWeight : names.contains(term) ? kNameWeight : 1;
    claims.push_back({std::move(term), weight, false});
  }
  return claims;
}

double WeightOf(const std::vector<Claim>& claims, const std::vector<bool>& which) {
  double sum = 0;
  for (size_t i = 0; i < claims.size(); ++i) sum += which[i] ? claims[i].weight : 0;
  return sum;
}

// A source sentence beside a sentence of the answer.
struct Compared {
  size_t sentence = 0;     // index of the source sentence
  std::vector<bool> told;  // which claims stand in it, or over it
  bool numbers = true;     // all that are claimed stand in it
  double score = 0;
};

// A source sentence, read once for all sentences of the answer.
struct Source {
  std::string_view text;
  Terms own, above;  // stems of the sentence, and of its title and headings
  std::vector<std::string_view> numbers;
  bool negates = false;
};

Source Read(const retrieval::ScoredChunk& chunk, const retrieval::Span& span) {
  Source source;
  source.text = std::string_view(chunk.text).substr(span.begin - chunk.span.begin, span.size());
  source.own = StemsOfContent(source.text);
  source.above = StemsOfContent(absl::StrCat(chunk.title, "\n", chunk.heading_path));
  source.numbers = NumbersIn(source.text);
  source.negates = HasNegation(source.text);
  return source;
}

// Words that stand over a sentence count where it has one of its own too; so does a number, but where the claims have
// no word: the same number stands in many places.
Compared Compare(const std::vector<Claim>& claims, double whole, bool negates, double cosine, const Source& source) {
  Compared result;
  bool words_claimed = false, own = false, own_word = false;
  for (const Claim& claim : claims) {
    const bool here =
        claim.number ? absl::c_linear_search(source.numbers, claim.term) : source.own.contains(claim.term);
    words_claimed |= !claim.number;
    own |= here;
    own_word |= here && !claim.number;
    result.numbers &= here || !claim.number;
    result.told.push_back(here || (!claim.number && source.above.contains(claim.term)));
  }
  if (!own || (words_claimed && !own_word)) result.told.assign(claims.size(), false);
  const double words = whole > 0 ? WeightOf(claims, result.told) / whole : 0;
  const double meaning = std::clamp((cosine - kMeaningFrom) / (kMeaningFull - kMeaningFrom), 0.0, 1.0);
  result.score = words;
  // A number that is not there is not meant either.
  if (result.numbers) result.score = std::max(words, (1 - kMeaningShare) * words + kMeaningShare * meaning);
  if (negates != source.negates) result.score *= negates ? 0.5 : 0.9;
  return result;
}

// Takes from the best on what bears the sentence out alone, or adds enough to what was taken before.
void Cite(const std::vector<Claim>& claims, double whole, absl::Span<const Compared> compared,
          absl::Span<const SourceSentence> sentences, absl::Span<const Source> sources,
          absl::Span<const retrieval::ScoredChunk* const> pieces, AnswerSentence& result) {
  std::vector<bool> told(claims.size(), false);
  for (const Compared& each : compared) {
    if (result.citations.size() == kMaxCitations) break;
    std::vector<bool> with = told;
    for (size_t i = 0; i < with.size(); ++i) with[i] = with[i] || each.told[i];
    const double more = whole > 0 ? (WeightOf(claims, with) - WeightOf(claims, told)) / whole : 0;
    const bool adds = more >= kLeastShare && each.score >= kLeastPart;
    if (!adds && (each.score < kSupportedFrom || !each.numbers)) continue;
    result.score = std::max(each.score, std::min(1.0, result.score + (adds ? more : 0)));
    told = std::move(with);
    const SourceSentence& sentence = sentences[each.sentence];
    result.citations.push_back({.piece = sentence.piece,
                                .span = sentence.span,
                                .line = LineOf(*pieces[sentence.piece], sentence.span),
                                .text = std::string(sources[each.sentence].text),
                                .score = each.score});
  }
  bool numbers = true;
  for (size_t i = 0; i < claims.size(); ++i) numbers &= told[i] || !claims[i].number;
  result.supported = numbers && result.score >= kSupportedFrom;
  if (!result.supported) result.citations.clear();
}

}  // namespace

int64_t LineOf(const retrieval::ScoredChunk& chunk, const retrieval::Span& span) {
  const std::string_view before = std::string_view(chunk.text).substr(0, span.begin - chunk.span.begin);
  return chunk.line + std::count(before.begin(), before.end(), '\n');
}

absl::StatusOr<std::vector<AnswerSentence>> FindSupport(std::string_view question, std::string_view answer,
                                                        absl::Span<const retrieval::ScoredChunk* const> pieces,
                                                        absl::Span<const SourceSentence> sentences,
                                                        const retrieval::Embedder& embedder) {
  std::vector<AnswerSentence> result;
  std::vector<std::string> texts;
  for (const retrieval::Span& span : retrieval::SplitSentences(answer)) {
    result.push_back({.span = span, .citations = {}});
    texts.emplace_back(answer.substr(span.begin, span.size()));
  }
  if (texts.empty()) return result;
  // One that is too long for the embedder is compared by its words alone.
  std::vector<std::string> embedded;
  std::vector<size_t> row(texts.size(), texts.size());  // of its vector; texts.size(): it has none
  for (size_t i = 0; i < texts.size(); ++i) {
    if (embedder.count_tokens(texts[i]) > embedder.max_tokens) continue;
    row[i] = embedded.size();
    embedded.push_back(texts[i]);
  }
  std::vector<float> vectors;
  if (!embedded.empty()) {
    absl::StatusOr<std::vector<float>> computed = embedder.embed(embedded);
    if (!computed.ok()) return computed.status();
    vectors = *std::move(computed);
  }
  std::vector<Source> sources;
  for (const SourceSentence& sentence : sentences) sources.push_back(Read(*pieces[sentence.piece], sentence.span));

  for (size_t i = 0; i < result.size(); ++i) {
    const std::vector<Claim> claims = ClaimsOf(question, texts[i]);
    const double whole = WeightOf(claims, std::vector<bool>(claims.size(), true));
    const bool negates = HasNegation(texts[i]);
    const float* vector = row[i] < texts.size() ? vectors.data() + row[i] * embedder.dimension : nullptr;
    std::vector<Compared> compared;
    std::vector<double> nearness;
    for (size_t k = 0; k < sentences.size(); ++k) {
      const absl::Span<const float> other = sentences[k].vector;
      const double cosine = vector == nullptr ? 0 : std::inner_product(other.begin(), other.end(), vector, 0.0);
      compared.push_back(Compare(claims, whole, negates, cosine, sources[k]));
      compared.back().sentence = k;
      nearness.push_back(cosine + sentences[k].relevance);
    }
    std::stable_sort(compared.begin(), compared.end(), [&](const Compared& a, const Compared& b) {
      return a.score != b.score ? a.score > b.score : nearness[a.sentence] > nearness[b.sentence];
    });
    Cite(claims, whole, compared, sentences, sources, pieces, result[i]);
  }
  return result;
}

}  // namespace blazon::service
