#include "service/training/caption_grammar.h"

#include <array>
#include <cctype>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

constexpr std::array<const char*, 6> kNumbers = {"no", "one", "two", "three", "four", "five"};

std::string PluralWord(const std::string& word) {
  static constexpr std::pair<const char*, const char*> kIrregular[] = {{"mouse", "mice"},
                                                                       {"goose", "geese"},
                                                                       {"tooth", "teeth"},
                                                                       {"fireman", "firemen"},
                                                                       {"snowman", "snowmen"},
                                                                       {"wolf", "wolves"},
                                                                       {"leaf", "leaves"},
                                                                       {"loaf", "loaves"},
                                                                       {"knife", "knives"},
                                                                       {"scarf", "scarves"},
                                                                       {"sheep", "sheep"},
                                                                       {"fish", "fish"},
                                                                       {"deer", "deer"},
                                                                       {"bison", "bison"},
                                                                       {"shrimp", "shrimp"},
                                                                       {"squid", "squid"},
                                                                       {"aircraft", "aircraft"},
                                                                       {"equipment", "pieces of equipment"},
                                                                       {"spacecraft", "spacecraft"},
                                                                       {"potato", "potatoes"},
                                                                       {"tomato", "tomatoes"},
                                                                       {"mango", "mangoes"},
                                                                       {"ox", "oxen"},
                                                                       {"clothing", "clothes"}};
  for (const auto& [singular, plural] : kIrregular) {
    if (absl::EndsWith(word, singular)) {
      const std::string rest = word.substr(0, word.size() - std::string_view(singular).size());
      if (rest.empty() || rest.back() == ' ' || std::string_view(singular) == "fish") return absl::StrCat(rest, plural);
    }
  }
  if (absl::EndsWith(word, "s") || absl::EndsWith(word, "x") || absl::EndsWith(word, "sh") ||
      absl::EndsWith(word, "ch")) {
    return absl::StrCat(word, "es");
  }
  if (absl::EndsWith(word, "y") && word.size() > 1 &&
      std::string_view("aeiou").find(word[word.size() - 2]) == std::string_view::npos) {
    return absl::StrCat(word.substr(0, word.size() - 1), "ies");
  }
  return absl::StrCat(word, "s");
}

std::string Capitalised(std::string text) {
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

}  // namespace

std::string WithArticle(const std::string& name) {
  if (name == "Eiffel Tower" || name == "sun" || name == "moon") return absl::StrCat("the ", name);
  if (name == "Santa Claus" || name == "candy") return name;
  static constexpr const char* kConsonantSound[] = {"uni", "euro", "one-", "ukulele", "U-"};
  for (const char* start : kConsonantSound) {
    if (absl::StartsWith(name, start)) return absl::StrCat("a ", name);
  }
  const bool vowel = absl::StrContains("aeiouAEIOU", name.substr(0, 1)) || absl::StartsWith(name, "hourglass");
  return absl::StrCat(vowel ? "an " : "a ", name);
}

std::string Plural(const std::string& name) {
  const size_t of = name.find(" of ");
  if (of == std::string::npos) return PluralWord(name);
  return absl::StrCat(PluralWord(name.substr(0, of)), name.substr(of));
}

std::string Caption(const SceneDescription& scene, const std::vector<std::string>& names, RandomSource& random) {
  switch (scene.layout) {
    case Layout::kSideBySide:
    case Layout::kStacked: {
      const bool beside = scene.layout == Layout::kSideBySide;
      if (random.Chance(0.5)) {
        return Capitalised(
            absl::StrCat(WithArticle(names[0]), beside ? " to the left of " : " above ", WithArticle(names[1]), "."));
      }
      return Capitalised(
          absl::StrCat(WithArticle(names[1]), beside ? " to the right of " : " below ", WithArticle(names[0]), "."));
    }
    case Layout::kCount:
      return Capitalised(absl::StrCat(kNumbers[static_cast<size_t>(scene.count)], " ", Plural(names[0]), " on ",
                                      WithArticle(scene.background), " background."));
    case Layout::kOne:
      break;
  }
  return Capitalised(absl::StrCat(WithArticle(names[0]), " on ", WithArticle(scene.background), " background."));
}

}  // namespace blazon::service
