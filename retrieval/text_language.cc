#include "retrieval/text_language.h"

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

#include <algorithm>
#include <iterator>

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
  std::string code = CLD2::LanguageCode(best[0]);
  code.resize(std::min(code.size(), code.find('-')));  // "zh-Hant"
  if (code == "nb" || code == "nn") code = "no";
  if (code == "iw") code = "he";            // its name until 1989
  return IsLanguageCode(code) ? code : "";  // "un": unknown
}

bool IsLanguageCode(std::string_view code) {
  return code.size() == 2 && code != "un" &&
         std::all_of(code.begin(), code.end(), [](char c) { return c >= 'a' && c <= 'z'; });
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
