#include "service/evidence_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "service/passage_judge.h"

namespace blazon::service {
namespace {

constexpr size_t kSentencesLookedAt = 256;
constexpr size_t kCandidates = 12;  // sentences that the reader sees, the best by late interaction
constexpr size_t kSentencesShown = 2;
constexpr double kSecondSentence = 0.5;  // a second sentence is shown when it answers with at least this share of the
                                         // first one's probability
// With the answering adapter: so many sentences are judged, each between so many neighbours before and behind.
constexpr size_t kJudged = 4;
constexpr int64_t kNeighbours = 1;

// A sentence that may be quoted.
struct Candidate {
  size_t sentence = 0;  // into Evidence::looked_at
  double answers = 0;   // probability
};

// The sentences of `passage`, as indices into looked_at.
std::vector<size_t> SentencesOf(const Passage& passage, size_t chunk,
                                absl::Span<const retrieval::ScoredSentence> looked_at) {
  std::vector<size_t> result;
  for (size_t i = 0; i < looked_at.size(); ++i) {
    const retrieval::ScoredSentence& sentence = looked_at[i];
    if (sentence.chunk_index == chunk && passage.span.begin <= sentence.span.begin &&
        sentence.span.end <= passage.span.end)
      result.push_back(i);
  }
  return result;
}

// A passage that was judged.
struct Judged {
  size_t centre = 0;  // the sentence that it was made around, into Evidence::looked_at
  Passage passage;
  double reader = 0, judge = 0;  // log-odds that the centre, that the passage answers
  double key = 0;                // what passages are ordered by
};

// Of a passage's sentences, which the judge reads one by one, the one that answers most probably, and its log-odds.
absl::StatusOr<std::pair<size_t, double>> Quoted(const EvidenceQuery& query, const Judge& judge, const Judged& best,
                                                 const Evidence& evidence) {
  const size_t chunk = evidence.looked_at[best.centre].chunk_index;
  std::vector<size_t> sentences;
  std::vector<std::string> texts;
  for (const size_t i : SentencesOf(best.passage, chunk, evidence.looked_at)) {
    Passage alone = PassageAround(evidence.looked_at[i], evidence.chunks[chunk], /*neighbours=*/0, query.context_tokens,
                                  judge.tokenizer);
    if (alone.text.empty()) continue;  // the centre fits
    sentences.push_back(i);
    texts.push_back(std::move(alone.text));
  }
  const absl::StatusOr<std::vector<double>> odds =
      JudgePassages(judge.model, judge.adapter, judge.tokenizer, query.question, texts);
  if (!odds.ok()) return odds.status();
  const auto highest = std::max_element(odds->begin(), odds->end());
  return std::pair(sentences[static_cast<size_t>(highest - odds->begin())], *highest);
}

double Probability(double log_odds) { return 1 / (1 + std::exp(-log_odds)); }

// The sentences that the reader puts first are judged again by the language model: between their neighbours, then, in
// the passage that is best by reader and judge, each by itself. order: indices of evidence's sentences, best first, as
// the reader has them. Returns the sentence to quote, then the other passages'; sets the evidence's confidence, and its
// reasons where a sentence did not fit. The probability of the first is the mean of three log-odds: the reader's, the
// passage's and the sentence's own; of the others, of the first two.
absl::StatusOr<std::vector<Candidate>> JudgeFirst(const EvidenceQuery& query, const Judge& judge,
                                                  absl::Span<const Reading> readings, absl::Span<const size_t> order,
                                                  Evidence& evidence) {
  std::vector<Judged> judged;
  std::vector<std::string> texts;
  for (const size_t i : order) {
    if (judged.size() == kJudged) break;
    const retrieval::ScoredSentence& sentence = evidence.looked_at[i];
    Passage passage = PassageAround(sentence, evidence.chunks[sentence.chunk_index], kNeighbours, query.context_tokens,
                                    judge.tokenizer);
    if (passage.text.empty()) {
      evidence.reasons[sentence.chunk_index] = DropReason::kNoRoom;
      continue;
    }
    texts.push_back(passage.text);
    const double sure = std::clamp(readings[i].answers, 1e-6, 1 - 1e-6);
    judged.push_back({.centre = i, .passage = std::move(passage), .reader = std::log(sure / (1 - sure))});
  }
  if (judged.empty()) return NothingFits(query.context_tokens);
  const absl::StatusOr<std::vector<double>> odds =
      JudgePassages(judge.model, judge.adapter, judge.tokenizer, query.question, texts);
  if (!odds.ok()) return odds.status();
  for (size_t k = 0; k < judged.size(); ++k) {
    judged[k].judge = (*odds)[k];
    judged[k].key = readings[judged[k].centre].rank + judged[k].judge;
  }
  std::stable_sort(judged.begin(), judged.end(), [](const Judged& a, const Judged& b) { return a.key > b.key; });
  const absl::StatusOr<std::pair<size_t, double>> quoted = Quoted(query, judge, judged[0], evidence);
  if (!quoted.ok()) return quoted.status();
  evidence.confidence = Probability((judged[0].reader + judged[0].judge + quoted->second) / 3);
  std::vector<Candidate> result = {{quoted->first, evidence.confidence}};
  for (const Judged& each : judged) {
    if (each.centre != quoted->first) result.push_back({each.centre, Probability((each.reader + each.judge) / 2)});
  }
  return result;
}

// Of the chunks whose sentences were not all looked at.
void MarkNotRead(Evidence& evidence) {
  if (evidence.looked_at.size() < kSentencesLookedAt) return;
  std::set<std::tuple<std::string_view, size_t, size_t>> read;
  for (const retrieval::ScoredSentence& sentence : evidence.looked_at)
    read.emplace(sentence.document_id, sentence.span.begin, sentence.span.end);
  for (size_t i = 0; i < evidence.chunks.size(); ++i) {
    const retrieval::ScoredChunk& chunk = evidence.chunks[i];
    for (const retrieval::Span& span : retrieval::SplitSentences(chunk.text)) {
      if (read.contains({chunk.document_id, chunk.span.begin + span.begin, chunk.span.begin + span.end})) continue;
      evidence.reasons[i] = DropReason::kNotRead;
      break;
    }
  }
}

}  // namespace

absl::Status NothingFits(int64_t context_tokens) {
  return absl::InvalidArgumentError(
      absl::StrCat("context_tokens is ", context_tokens,
                   "; no sentence that was found fits into it. Raise it, or ask for an extractive answer."));
}

absl::StatusOr<Evidence> FindEvidence(const EvidenceQuery& query, const retrieval::Collection& collection,
                                      const retrieval::Embedder& embedder, const Reader& reader, const Judge* judge) {
  const int64_t tokens = embedder.count_tokens(query.question);
  if (tokens > embedder.max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("question has ", tokens, " tokens; the embedder takes ",
                                                   embedder.max_tokens, ". Ask it shorter."));
  }
  absl::StatusOr<std::vector<float>> vector = embedder.embed({&query.question, 1});
  if (!vector.ok()) return vector.status();
  Evidence evidence;
  absl::StatusOr<std::vector<retrieval::ScoredChunk>> chunks = collection.Search(
      {.text = query.question, .vector = *std::move(vector), .count = query.count, .filter = query.filter});
  if (!chunks.ok()) return chunks.status();
  evidence.chunks = *std::move(chunks);
  evidence.reasons.assign(evidence.chunks.size(), DropReason::kFitsBadly);
  if (evidence.chunks.empty()) return evidence;

  absl::StatusOr<std::vector<retrieval::ScoredSentence>> looked_at = retrieval::RankSentences(
      query.question, evidence.chunks, embedder, {.count = kSentencesLookedAt, .max_sentences = kSentencesLookedAt});
  if (!looked_at.ok()) return looked_at.status();
  evidence.looked_at = *std::move(looked_at);
  MarkNotRead(evidence);
  const absl::StatusOr<std::vector<Reading>> readings =
      reader.Read(query.question, absl::MakeSpan(evidence.looked_at).subspan(0, kCandidates), evidence.chunks);
  if (!readings.ok()) return readings.status();
  if (readings->empty()) return evidence;
  std::vector<size_t> order(readings->size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t i, size_t j) { return (*readings)[i].rank > (*readings)[j].rank; });
  std::vector<Candidate> candidates;
  if (judge == nullptr) {
    for (const size_t i : order) candidates.push_back({i, (*readings)[i].answers});
    evidence.confidence = candidates[0].answers;
  } else {
    absl::StatusOr<std::vector<Candidate>> judged = JudgeFirst(query, *judge, *readings, order, evidence);
    if (!judged.ok()) return judged.status();
    candidates = *std::move(judged);
  }
  for (const Candidate& candidate : candidates) {
    if (evidence.sentences.size() == kSentencesShown) break;
    if (!evidence.sentences.empty() && candidate.answers < kSecondSentence * candidates[0].answers) break;
    evidence.sentences.push_back(evidence.looked_at[candidate.sentence]);
    evidence.sentences.back().score = candidate.answers;
  }
  return evidence;
}

}  // namespace blazon::service
