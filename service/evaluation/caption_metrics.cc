#include "service/evaluation/caption_metrics.h"

#include <libstemmer.h>
#include <unicode/brkiter.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace blazon::service {
namespace {

constexpr int kOrders = 4;  // n-grams of 1 to 4 words
using NGram = absl::Span<const std::string>;

struct NGramLess {
  bool operator()(NGram a, NGram b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  }
};
// Keys point into the words that were counted.
using NGramCounts = std::map<NGram, double, NGramLess>;

NGramCounts CountNGrams(const Words& words, size_t order) {
  NGramCounts counts;
  for (size_t i = 0; i + order <= words.size(); ++i) ++counts[NGram(words).subspan(i, order)];
  return counts;
}

std::array<double, kOrders> Bleu(absl::Span<const CaptionPair> pairs) {
  constexpr double kSmall = 1e-9, kTiny = 1e-15;  // as pycocoevalcap keeps its quotients finite
  std::array<double, kOrders> matched{}, possible{};
  double candidate_length = 0, reference_length = 0;
  for (const CaptionPair& pair : pairs) {
    const auto length = static_cast<int64_t>(pair.candidate.size());
    candidate_length += static_cast<double>(length);
    // The nearest reference; of two as near, the shorter.
    std::pair<int64_t, int64_t> nearest{INT64_MAX, 0};
    for (const Words& reference : pair.references) {
      const auto other = static_cast<int64_t>(reference.size());
      nearest = std::min(nearest, {std::abs(other - length), other});
    }
    reference_length += static_cast<double>(nearest.second);
    for (int order = 0; order < kOrders; ++order) {
      NGramCounts most;  // in any one reference
      for (const Words& reference : pair.references) {
        for (const auto& [ngram, count] : CountNGrams(reference, order + 1)) {
          double& other = most[ngram];
          other = std::max(other, count);
        }
      }
      for (const auto& [ngram, count] : CountNGrams(pair.candidate, order + 1)) {
        const auto found = most.find(ngram);
        if (found != most.end()) matched[order] += std::min(count, found->second);
        possible[order] += count;
      }
    }
  }
  const double ratio = (candidate_length + kTiny) / (reference_length + kSmall);
  const double brevity = ratio < 1 ? std::exp(1 - 1 / ratio) : 1;
  std::array<double, kOrders> bleu{};
  double product = 1;
  for (int order = 0; order < kOrders; ++order) {
    product *= (matched[order] + kTiny) / (possible[order] + kSmall);
    bleu[order] = std::pow(product, 1.0 / (order + 1)) * brevity;
  }
  return bleu;
}

size_t LongestCommonSubsequence(const Words& a, const Words& b) {
  std::vector<size_t> row(b.size() + 1, 0);
  for (const std::string& word : a) {
    size_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = word == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

double RougeL(const CaptionPair& pair) {
  constexpr double kBeta = 1.2;
  double precision = 0, recall = 0;
  for (const Words& reference : pair.references) {
    if (reference.empty() || pair.candidate.empty()) continue;
    const auto common = static_cast<double>(LongestCommonSubsequence(pair.candidate, reference));
    precision = std::max(precision, common / static_cast<double>(pair.candidate.size()));
    recall = std::max(recall, common / static_cast<double>(reference.size()));
  }
  if (precision == 0 || recall == 0) return 0;
  return (1 + kBeta * kBeta) * precision * recall / (recall + kBeta * kBeta * precision);
}

class EnglishStems {
 public:
  EnglishStems() : stemmer_(sb_stemmer_new("english", "UTF_8"), sb_stemmer_delete) {}
  Words operator()(const Words& words) const {
    Words stems;
    stems.reserve(words.size());
    for (const std::string& word : words) {
      const sb_symbol* stem = sb_stemmer_stem(stemmer_.get(), reinterpret_cast<const sb_symbol*>(word.data()),
                                              static_cast<int>(word.size()));
      stems.emplace_back(reinterpret_cast<const char*>(stem), sb_stemmer_length(stemmer_.get()));
    }
    return stems;
  }

 private:
  std::unique_ptr<sb_stemmer, void (*)(sb_stemmer*)> stemmer_;
};

// Pairs words of both that are equal and not yet paired, from the end, as NLTK does. partner[i]: of candidate word i.
void Align(const Words& candidate, const Words& reference, std::vector<int64_t>& partner, std::vector<bool>& taken) {
  for (size_t i = candidate.size(); i-- > 0;) {
    if (partner[i] >= 0) continue;
    for (size_t j = reference.size(); j-- > 0;) {
      if (taken[j] || candidate[i] != reference[j]) continue;
      partner[i] = static_cast<int64_t>(j);
      taken[j] = true;
      break;
    }
  }
}

double Meteor(const CaptionPair& pair, const EnglishStems& stems) {
  constexpr double kAlpha = 0.9, kBeta = 3, kGamma = 0.5;
  const Words candidate_stems = stems(pair.candidate);
  double best = 0;
  for (const Words& reference : pair.references) {
    std::vector<int64_t> partner(pair.candidate.size(), -1);
    std::vector<bool> taken(reference.size(), false);
    Align(pair.candidate, reference, partner, taken);
    Align(candidate_stems, stems(reference), partner, taken);
    double matches = 0, chunks = 0;
    for (size_t i = 0; i < partner.size(); ++i) {
      if (partner[i] < 0) continue;
      ++matches;
      if (i == 0 || partner[i - 1] < 0 || partner[i] != partner[i - 1] + 1) ++chunks;
    }
    if (matches == 0) continue;
    const double precision = matches / static_cast<double>(pair.candidate.size());
    const double recall = matches / static_cast<double>(reference.size());
    const double mean = precision * recall / (kAlpha * precision + (1 - kAlpha) * recall);
    best = std::max(best, (1 - kGamma * std::pow(chunks / matches, kBeta)) * mean);
  }
  return best;
}

// A caption as weights of its n-grams.
struct WeightedNGrams {
  std::array<NGramCounts, kOrders> weights;
  std::array<double, kOrders> norms{};
  double bigrams = 0;  // by which pycocoevalcap measures length
};

class CiderD {
 public:
  explicit CiderD(absl::Span<const CaptionPair> pairs) : log_pictures_(std::log(static_cast<double>(pairs.size()))) {
    for (const CaptionPair& pair : pairs) {
      std::set<NGram, NGramLess> seen;
      for (const Words& reference : pair.references) {
        for (int order = 1; order <= kOrders; ++order) {
          for (const auto& [ngram, count] : CountNGrams(reference, order)) seen.insert(ngram);
        }
      }
      for (const NGram ngram : seen) ++pictures_with_[ngram];
    }
  }

  double Score(const CaptionPair& pair) const {
    const WeightedNGrams candidate = Weigh(pair.candidate);
    double sum = 0;
    for (const Words& reference : pair.references) sum += Similarity(candidate, Weigh(reference));
    return 10 * sum / static_cast<double>(pair.references.size());
  }

 private:
  WeightedNGrams Weigh(const Words& words) const {
    WeightedNGrams result;
    for (int order = 0; order < kOrders; ++order) {
      NGramCounts& weights = result.weights[order];
      weights = CountNGrams(words, order + 1);
      for (auto& [ngram, weight] : weights) {
        if (order == 1) result.bigrams += weight;
        const auto found = pictures_with_.find(ngram);
        weight *= log_pictures_ - (found == pictures_with_.end() ? 0 : std::log(found->second));
        result.norms[order] += weight * weight;
      }
      result.norms[order] = std::sqrt(result.norms[order]);
    }
    return result;
  }

  // Equation 8 of the paper's CIDEr-D, its mean over the orders.
  static double Similarity(const WeightedNGrams& candidate, const WeightedNGrams& reference) {
    constexpr double kSigma = 6;
    const double longer = candidate.bigrams - reference.bigrams;
    const double length_penalty = std::exp(-longer * longer / (2 * kSigma * kSigma));
    double sum = 0;
    for (int order = 0; order < kOrders; ++order) {
      double dot = 0;
      for (const auto& [ngram, weight] : candidate.weights[order]) {
        const auto found = reference.weights[order].find(ngram);
        if (found != reference.weights[order].end()) dot += std::min(weight, found->second) * found->second;
      }
      const double norms = candidate.norms[order] * reference.norms[order];
      sum += (norms == 0 ? dot : dot / norms) * length_penalty;
    }
    return sum / kOrders;
  }

  double log_pictures_;
  NGramCounts pictures_with_;  // an n-gram in a reference
};

}  // namespace

absl::StatusOr<Words> CaptionWords(std::string_view text) {
  icu::UnicodeString unicode =
      icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int>(text.size())));
  std::string round_trip;
  unicode.toUTF8String(round_trip);
  if (round_trip != text) return absl::InvalidArgumentError("a caption is not UTF-8; convert the file to UTF-8");
  unicode.toLower(icu::Locale::getRoot());
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> words(
      icu::BreakIterator::createWordInstance(icu::Locale::getRoot(), error));
  if (U_FAILURE(error)) return absl::InternalError(absl::StrCat("ICU has no word boundaries: ", u_errorName(error)));
  words->setText(unicode);
  Words result;
  for (int32_t begin = words->first(), end = words->next(); end != icu::BreakIterator::DONE;
       begin = end, end = words->next()) {
    if (words->getRuleStatus() < UBRK_WORD_NONE_LIMIT) continue;  // spaces and punctuation
    unicode.tempSubStringBetween(begin, end).toUTF8String(result.emplace_back());
  }
  return result;
}

absl::StatusOr<CaptionScores> ScoreCaptions(absl::Span<const CaptionPair> pairs) {
  if (pairs.empty()) return absl::InvalidArgumentError("there is no caption to score");
  for (const CaptionPair& pair : pairs) {
    if (pair.references.empty())
      return absl::InvalidArgumentError(absl::StrCat("'", pair.id, "' has no caption by people to compare with"));
  }
  CaptionScores scores;
  scores.bleu = Bleu(pairs);
  const CiderD cider(pairs);
  const EnglishStems stems;
  for (const CaptionPair& pair : pairs) {
    if (pair.candidate.empty()) ++scores.empty;
    scores.rouge_l += RougeL(pair);
    scores.meteor += Meteor(pair, stems);
    scores.cider_d += cider.Score(pair);
    if (std::find(pair.references.begin(), pair.references.end(), pair.candidate) != pair.references.end())
      ++scores.exact;
  }
  scores.pictures = static_cast<int64_t>(pairs.size());
  const auto count = static_cast<double>(pairs.size());
  for (double* mean : {&scores.rouge_l, &scores.meteor, &scores.cider_d, &scores.exact}) *mean /= count;
  return scores;
}

}  // namespace blazon::service
