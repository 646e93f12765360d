#include "retrieval/text_language.h"

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::retrieval {
namespace {

constexpr size_t kDetectedBytes = 64 << 10;
// Of letters: shorter texts, lists of names and code are often taken for one language or another.
constexpr int kLeastBytes = 120;
constexpr int kLeastPercent = 70;

struct LanguageStems {
  const char* language;   // ISO 639-1
  const char* algorithm;  // libstemmer's name
};
constexpr LanguageStems kStems[] = {
    {"en", "porter"},   {"ar", "arabic"},     {"hy", "armenian"},  {"eu", "basque"},     {"ca", "catalan"},
    {"da", "danish"},   {"nl", "dutch"},      {"fi", "finnish"},   {"fr", "french"},     {"de", "german"},
    {"el", "greek"},    {"hi", "hindi"},      {"hu", "hungarian"}, {"id", "indonesian"}, {"ga", "irish"},
    {"it", "italian"},  {"lt", "lithuanian"}, {"ne", "nepali"},    {"no", "norwegian"},  {"pt", "portuguese"},
    {"ro", "romanian"}, {"ru", "russian"},    {"sr", "serbian"},   {"es", "spanish"},    {"sv", "swedish"},
    {"ta", "tamil"},    {"tr", "turkish"},    {"yi", "yiddish"},
};

// CLD2's code as documents have it; empty for what is no language of two letters.
std::string OwnCode(CLD2::Language language) {
  std::string code = CLD2::LanguageCode(language);
  code.resize(std::min(code.size(), code.find('-')));  // "zh-Hant"
  if (code == "nb" || code == "nn") code = "no";
  if (code == "iw") code = "he";            // its name until 1989
  return IsLanguageCode(code) ? code : "";  // "un": unknown
}

}  // namespace

std::string DetectLanguage(std::string_view text) {
  if (text.size() > kDetectedBytes) {  // up to a whole character
    size_t end = kDetectedBytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text = text.substr(0, end);
  }
  CLD2::Language best[3];
  int percent[3], bytes = 0;
  bool reliable = false;
  const CLD2::CLDHints no_hints = {nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
  double scores[3];
  int valid = 0;  // it looks at nothing when there are control characters
  CLD2::ExtDetectLanguageSummaryCheckUTF8(text.data(), static_cast<int>(text.size()), true, &no_hints, 0, best, percent,
                                          scores, nullptr, &bytes, &reliable, &valid);
  if (!reliable || bytes < kLeastBytes || percent[0] < kLeastPercent) return "";
  return OwnCode(best[0]);
}

bool IsLanguageCode(std::string_view code) {
  return code.size() == 2 && code != "un" &&
         std::all_of(code.begin(), code.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

absl::Status CheckLanguage(std::string_view code) {
  static const std::set<std::string> known = [] {
    std::set<std::string> codes;
    for (const LanguageStems& stems : kStems) codes.insert(stems.language);
    for (int i = 0; i < CLD2::NUM_LANGUAGES; ++i) {
      if (std::string named = OwnCode(static_cast<CLD2::Language>(i)); !named.empty()) codes.insert(std::move(named));
    }
    return codes;
  }();
  if (known.contains(std::string(code))) return absl::OkStatus();
  std::vector<std::string> with, without;
  for (const std::string& each : known) (StemsOf(each) == kNoStems ? without : with).push_back(each);
  return absl::InvalidArgumentError(absl::StrCat(
      "language '", absl::CHexEscape(std::string(code)), "' is not known; with stems of their own there are ",
      absl::StrJoin(with, " "), ", and without ", absl::StrJoin(without, " ")));
}

int StemsOf(std::string_view language) {
  if (language.empty()) return 0;
  for (size_t i = 0; i < std::size(kStems); ++i) {
    if (language == kStems[i].language) return static_cast<int>(i);
  }
  return kNoStems;
}

const char* StemAlgorithm(int stems) {
  return stems >= 0 && stems < static_cast<int>(std::size(kStems)) ? kStems[stems].algorithm : nullptr;
}

}  // namespace blazon::retrieval
