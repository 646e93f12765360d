#include "service/question_completion.h"

#include <algorithm>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "retrieval/words.h"

namespace blazon::service {
namespace {

using WordSet = absl::flat_hash_set<std::string_view>;

// A word as it is written, and without case and the punctuation around it.
struct Word {
  std::string written, plain;
};

std::vector<Word> WordsOf(std::string_view text) {
  std::vector<Word> words;
  for (const absl::string_view written :
       absl::StrSplit(absl::string_view(text.data(), text.size()), absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    std::string plain = absl::AsciiStrToLower(written);
    const auto is_mark = [](char c) { return absl::ascii_ispunct(static_cast<unsigned char>(c)); };
    while (!plain.empty() && is_mark(plain.back())) plain.pop_back();
    plain.erase(plain.begin(), std::find_if_not(plain.begin(), plain.end(), is_mark));
    words.push_back({std::string(written), std::move(plain)});
  }
  return words;
}

std::string Join(absl::Span<const Word> words) {
  return absl::StrJoin(words, " ", [](std::string* out, const Word& word) { out->append(word.written); });
}

// Without the marks that end a question.
std::string_view WithoutEnd(std::string_view text) {
  while (!text.empty() && (std::string_view("?!.,;: ").find(text.back()) != std::string_view::npos))
    text.remove_suffix(1);
  return text;
}

bool IsContent(const std::string& plain) {
  return !plain.empty() && retrieval::KindOf(plain) == retrieval::WordKind::kContent;
}

// What a question begins with when it is a whole clause.
bool BeginsClause(const std::string& plain) {
  static const auto* words = new WordSet{
      "what", "when", "where", "which", "who", "whom", "whose", "why",   "how",    "is",       "are",   "was",
      "were", "do",   "does",  "did",   "can", "may",  "must",  "could", "should", "will",     "would", "has",
      "have", "had",  "shall", "might", "am",  "tell", "give",  "list",  "show",   "describe", "name",  "explain"};
  return words->contains(plain);
}

bool IsHelper(const std::string& plain) {  // a verb follows behind the subject
  static const auto* words =
      new WordSet{"do", "does", "did", "can", "may", "must", "could", "should", "will", "would", "shall", "might"};
  return words->contains(plain);
}

bool IsPreposition(const std::string& plain) {
  static const auto* words =
      new WordSet{"on",    "in",     "at",      "for",     "with",  "from",  "to",    "by",    "near",  "during",
                  "after", "before", "between", "without", "under", "above", "below", "until", "since", "per"};
  return words->contains(plain);
}

bool IsDeterminer(const std::string& plain) {
  static const auto* words = new WordSet{"the", "a", "an", "my", "our", "your"};
  return words->contains(plain);
}

enum class Pronoun {
  kNone,
  kThing,
  kOwner,  // "its"
  kPerson,
  kPersonOwner,
  kOther,  // "there", "one": what it stands for cannot take its place
};

// At `i` of a question. "it" of "is it allowed to" and "that" before a clause stand for nothing.
Pronoun PronounAt(const std::vector<Word>& words, size_t i) {
  const std::string& plain = words[i].plain;
  const bool last = i + 1 == words.size();
  if (plain == "it") {
    static const auto* judged = new WordSet{"allowed", "possible",  "permitted", "forbidden", "necessary",
                                            "true",    "dangerous", "safe",      "better",    "worth"};
    const bool empty = !last && judged->contains(words[i + 1].plain);
    return empty ? Pronoun::kNone : Pronoun::kThing;
  }
  if (plain == "they" || plain == "them") return Pronoun::kThing;
  if (plain == "its" || plain == "their") return Pronoun::kOwner;
  if (plain == "he" || plain == "she" || plain == "him") return Pronoun::kPerson;
  if (plain == "his" || plain == "hers") return Pronoun::kPersonOwner;
  if (plain == "her") return last ? Pronoun::kPerson : Pronoun::kPersonOwner;
  if ((plain == "that" || plain == "this" || plain == "those" || plain == "these") && last) return Pronoun::kThing;
  if (plain == "one" || plain == "ones")
    return last || !IsContent(words[i + 1].plain) ? Pronoun::kOther : Pronoun::kNone;
  const bool shows = i > 0 && (words[i - 1].plain == "is" || words[i - 1].plain == "are" ||
                               words[i - 1].plain == "was" || words[i - 1].plain == "were");
  return plain == "there" && !shows ? Pronoun::kOther : Pronoun::kNone;
}

bool IsParticiple(const std::string& plain) {  // behind "is" and "was"
  static const auto* words = new WordSet{"built", "dug",   "made",  "found", "held",    "kept", "sold", "sent",
                                         "taken", "given", "known", "grown", "written", "open", "free", "shut"};
  return words->contains(plain) || absl::EndsWith(plain, "ed");
}

// What a question is about: its first noun phrase with an article, with what "of the ..." adds, else its capitalised
// words; empty when it has neither.
std::string SubjectOf(std::string_view question) {
  const std::vector<Word> words = WordsOf(WithoutEnd(question));
  for (size_t i = 0; i < words.size(); ++i) {
    if (!IsDeterminer(words[i].plain)) continue;
    size_t first = i + 1, end = first;
    while (end < words.size() && IsContent(words[end].plain)) ++end;
    if (end == first) continue;
    if (end + 1 < words.size() && words[end].plain == "of") {
      size_t next = end + 1;
      if (IsDeterminer(words[next].plain)) ++next;
      const size_t owner = next;
      while (next < words.size() && IsContent(words[next].plain)) ++next;
      if (next > owner) {
        first = owner;
        end = next;
      }
    }
    // The verb behind it: "does the boat weigh", "was the bridge built".
    const bool ends = end == words.size() || IsPreposition(words[end].plain);
    const bool subject = i > 0 && ends && end > first + 1;
    if (subject && (IsHelper(words[i - 1].plain) || IsParticiple(words[end - 1].plain))) --end;
    return Join(absl::MakeSpan(words).subspan(i, end - i));
  }
  for (size_t i = 1; i < words.size(); ++i) {
    size_t end = i;
    while (end < words.size() && absl::ascii_isupper(static_cast<unsigned char>(words[end].written[0]))) ++end;
    if (end > i) return std::string(WithoutEnd(Join(absl::MakeSpan(words).subspan(i, end - i))));
  }
  return "";
}

// The first run of two or more capitalised words of an answer; empty when it has none.
std::string NameIn(std::string_view answer) {
  const std::vector<Word> words = WordsOf(answer);
  for (size_t i = 0; i < words.size(); ++i) {
    size_t end = i;
    while (end < words.size() && absl::ascii_isupper(static_cast<unsigned char>(words[end].written[0])) &&
           !IsDeterminer(words[end].plain))
      ++end;
    if (end - i >= 2) return std::string(WithoutEnd(Join(absl::MakeSpan(words).subspan(i, end - i))));
  }
  return "";
}

// Words that the earlier question has and this one lacks, behind it.
std::string Carry(std::string_view question, std::string_view earlier) {
  const std::vector<std::string> here = retrieval::Words(question);
  std::vector<std::string> carried;
  for (const Word& word : WordsOf(earlier)) {
    if (!IsContent(word.plain) || absl::c_linear_search(here, word.plain)) continue;
    carried.emplace_back(WithoutEnd(word.written));
  }
  if (carried.empty()) return std::string(question);
  return absl::StrCat(std::string(WithoutEnd(question)), " (", absl::StrJoin(carried, " "), ")?");
}

std::string CompleteFrom(std::string_view question, std::string_view earlier, std::string_view earlier_answer) {
  std::vector<Word> words = WordsOf(question);
  size_t begin = 0;
  bool goes_on = false;
  static const auto* openings = new WordSet{"and", "but", "or", "so", "also", "then", "ok", "okay", "well"};
  while (begin < words.size() && openings->contains(words[begin].plain)) ++begin;
  goes_on = begin > 0;
  const bool about = begin + 2 < words.size() && words[begin + 1].plain == "about" &&
                     (words[begin].plain == "what" || words[begin].plain == "how");
  if (about) begin += 2;
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(begin));
  if (absl::c_all_of(words, [](const Word& word) { return word.plain.empty(); })) return std::string(question);

  // A pronoun: what it stands for takes its place.
  bool replaced = false, pronoun = false;
  std::string person = NameIn(earlier_answer), thing = SubjectOf(earlier);
  for (size_t i = 0; i < words.size(); ++i) {
    const Pronoun kind = PronounAt(words, i);
    if (kind == Pronoun::kNone) continue;
    pronoun = true;
    if (kind == Pronoun::kOther) continue;
    const bool of_person = kind == Pronoun::kPerson || kind == Pronoun::kPersonOwner;
    std::string& subject = of_person && !person.empty() ? person : thing;
    if (subject.empty()) continue;
    const bool owner = kind == Pronoun::kOwner || kind == Pronoun::kPersonOwner;
    const std::string marks = words[i].written.substr(WithoutEnd(words[i].written).size());
    words[i].written = absl::StrCat(subject, owner ? "'s" : "", marks);
    subject.clear();  // once is enough
    replaced = true;
  }
  if (replaced) return Join(words);
  // "and on Sundays?", "for children?": the rest of the question is the earlier one's.
  const bool clause = BeginsClause(words[0].plain), preposition = IsPreposition(words[0].plain);
  if (preposition) words[0].written[0] = absl::ascii_tolower(static_cast<unsigned char>(words[0].written[0]));
  if (about || preposition || (goes_on && !clause)) {
    return absl::StrCat(std::string(WithoutEnd(earlier)), preposition ? " " : ", ", Join(words));
  }
  // A clause that says little by itself.
  const auto contents = absl::c_count_if(words, [](const Word& word) { return IsContent(word.plain); });
  if (pronoun || goes_on || contents <= 1) return Carry(Join(words), earlier);
  return std::string(question);
}

}  // namespace

std::string CompleteQuestion(std::string_view question, absl::Span<const EarlierTurn> turns) {
  std::string earlier;
  std::string_view answer;
  for (const EarlierTurn& turn : turns) {
    if (turn.question.empty()) continue;
    std::string whole = earlier.empty() ? turn.question : CompleteFrom(turn.question, earlier, answer);
    earlier = whole.size() <= kMaxCompletedBytes ? std::move(whole) : turn.question;
    answer = turn.answer;
  }
  if (earlier.empty()) return std::string(question);
  std::string whole = CompleteFrom(question, earlier, answer);
  return whole.size() <= kMaxCompletedBytes ? whole : std::string(question);
}

}  // namespace blazon::service
