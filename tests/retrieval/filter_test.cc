// Filters: their text, and what they let through, beside a plain loop over plain maps.
#include "retrieval/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::HasSubstr;
using Kind = Condition::Kind;

Condition MustParse(const std::string& text) {
  absl::StatusOr<Condition> condition = ParseCondition(text);
  EXPECT_TRUE(condition.ok()) << text << ": " << condition.status();
  return condition.ok() ? *condition : Condition();
}

TEST(FilterTextTest, ReadsEveryFormAndItsPrecedence) {
  const std::pair<const char*, const char*> cases[] = {
      {"year >= 2020", "year >= 2020"},
      {"a=1 or b = 2 and not c==3", "(a == 1 or (b == 2 and not c == 3))"},
      {"(a==1 OR b==2) And c != 'x'", "((a == 1 or b == 2) and not c == \"x\")"},
      {"lang in (\"en\",'de')", "lang in (\"en\", \"de\")"},
      {"lang not in ('en')", "not lang in (\"en\")"},
      {"x in ()", "x in ()"},
      {"@path prefix \"guide/\"", "@path prefix \"guide/\""},
      {"draft exists and not draft == true", "(draft exists and not draft == true)"},
      {"`a b` < -2.5e1", "`a b` < -25"},
      {"`and` == 'say \\'\\\\\\''", "`and` == \"say '\\\\'\""},
      {"day >= 2024-05-31", "day >= 2024-05-31T00:00:00Z"},
      {"t < 2024-05-31T20:00:00+02:00", "t < 2024-05-31T18:00:00Z"},
      {"t < 1969-12-31T23:59Z", "t < 1969-12-31T23:59:00Z"},
      {"not not a exists", "not not a exists"},
      {"a.b-c_d<=.5", "a.b-c_d <= 0.5"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(ConditionText(MustParse(text)), expected);
    EXPECT_EQ(ConditionText(MustParse(expected)), expected);
  }
}

TEST(FilterTextTest, SaysWhereItIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "its end at byte 0, where a name"},
      {"year", "its end at byte 4, where one of =="},
      {"year >", "its end at byte 6, where text in quotes"},
      {"year > 2020 lang == 'en'", "'lang == 'en'' at byte 12, where 'and', 'or' or the end"},
      {"(a == 1", "where ')'"},
      {"a == 'x", "at byte 5, where a closed quotation"},
      {"a == \"\\n\"", "after the backslash"},
      {"a == 2024-02-30", "'2024-02-30' at byte 5"},
      {"a == nan", "'nan'"},
      {"a == 1e999", "'1e999'"},
      {"a == 9007199254740993", "2^53"},
      {"a in 1", "where '('"},
      {"a in (1 2)", "',' or ')'"},
      {"a not == 1", "'in'"},
      {"and == 1", "backquotes"},
      {"@owner == 'me'", "@path, @source, @title and @id"},
      {"a prefix 3", "prefix of a that is not text"},
      {"1 == a", "a name"},
  };
  for (const auto& [text, expected] : cases) {
    const absl::Status status = ParseCondition(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(expected)) << text;
  }
  EXPECT_FALSE(ParseCondition(std::string(100000, '(')).ok());
  EXPECT_THAT(std::string(ParseCondition(std::string(1000, '(') + "a == 1").status().message()), HasSubstr("deeper"));
  std::string many = "a in (0";
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&many, ",", i);
  EXPECT_THAT(std::string(ParseCondition(many + ")").status().message()), HasSubstr("4096"));
}

TEST(FilterTextTest, ReadsNumbersAndDatesWhollyOrNotAtAll) {
  for (const char* text : {"", " 1", "1 ", "1,5", "inf", "nan", "0x10", "1e", "--1", "1e999"})
    EXPECT_FALSE(ReadNumber(text)) << text;
  EXPECT_EQ(ReadNumber("-12.5e-1"), -1.25);
  EXPECT_EQ(ReadNumber("+3"), 3);
  for (const char* text : {"2024", "2024-1-1", "2024-13-01", "2023-02-29", "2024-01-01T", "2024-01-01T24:00Z",
                           "2024-01-01T10:00", "2024-01-01T10:00:00z", "2024-01-01 "})
    EXPECT_FALSE(ReadDate(text)) << text;
  EXPECT_EQ(ReadDate("1970-01-02")->seconds, 86400);
  EXPECT_EQ(ReadDate("2024-02-29T12:30:15Z")->seconds, 1709209815);  // date -u -d 2024-02-29T12:30:15Z +%s
  EXPECT_EQ(ReadDate("1969-12-31 22:00:00-02:00")->seconds, 0);
}

// --- what passes ---

struct Plain {
  std::string source, path, title, id;
  std::map<std::string, std::string> metadata;
};

const std::string* Stored(const Plain& document, const std::string& name) {
  if (name == "@source") return &document.source;
  if (name == "@path") return &document.path;
  if (name == "@title") return &document.title;
  if (name == "@id") return &document.id;
  const auto found = document.metadata.find(name);
  return found == document.metadata.end() ? nullptr : &found->second;
}

// -1, 0, 1, or 2 when the text is not of the value's type.
int Order(const std::string& stored, const FilterValue& value) {
  const auto sign = [](auto a, auto b) { return a < b ? -1 : a > b ? 1 : 0; };
  if (std::holds_alternative<std::string>(value)) return sign(stored.compare(std::get<std::string>(value)), 0);
  if (std::holds_alternative<bool>(value)) {
    if (stored != "true" && stored != "false") return 2;
    return sign(stored == "true" ? 1 : 0, std::get<bool>(value) ? 1 : 0);
  }
  if (std::holds_alternative<double>(value)) {
    char* end = nullptr;  // the texts of this test hold nothing else that strtod would take
    const double number = std::strtod(stored.c_str(), &end);
    if (stored.empty() || *end != '\0') return 2;
    return sign(number, std::get<double>(value));
  }
  if (stored.size() != 10 || stored[4] != '-') return 2;  // the dates of this test are days
  return sign(stored + "T00:00:00Z", DateText(std::get<Date>(value)));
}

bool Passes(const Plain& document, const Condition& condition) {
  if (condition.kind == Kind::kAnd || condition.kind == Kind::kOr) {
    bool result = condition.kind == Kind::kAnd;
    for (const Condition& part : condition.parts)
      result = condition.kind == Kind::kAnd ? Passes(document, part) && result : Passes(document, part) || result;
    return result;
  }
  if (condition.kind == Kind::kNot) return !Passes(document, condition.parts[0]);
  const std::string* stored = Stored(document, condition.name);
  if (!stored) return false;
  if (condition.kind == Kind::kExists) return true;
  if (condition.kind == Kind::kPrefix) return stored->rfind(std::get<std::string>(condition.values[0]), 0) == 0;
  for (const FilterValue& value : condition.values) {
    const int order = Order(*stored, value);
    if (order == 2) continue;
    switch (condition.kind) {
      case Kind::kLess:
        return order < 0;
      case Kind::kLessOrEqual:
        return order <= 0;
      case Kind::kGreater:
        return order > 0;
      case Kind::kGreaterOrEqual:
        return order >= 0;
      default:
        if (order == 0) return true;
    }
  }
  return false;
}

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}
  int Below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }

  std::string Text() {
    static const char* const kTexts[] = {"en",  "de",  "",           "true",       "false", "2020", "2021.5", "-3",
                                         "1e2", "abc", "2024-05-31", "2023-01-01", "d\"q",  "100",  "p3",     "s1"};
    return kTexts[Below(16)];
  }
  Plain Document(int number) {
    Plain document{absl::StrCat("s", Below(3)), absl::StrCat("p", number % 10, "/", number), Text(), "", {}};
    for (const char* name : {"year", "lang", "draft", "day", "a b"}) {
      if (Below(3) > 0) document.metadata[name] = Text();
    }
    document.id = DocumentId(document.source, document.path);
    return document;
  }
  FilterValue Value() {
    switch (Below(5)) {
      case 0:
        return static_cast<double>(Below(2) ? 2020 : -3);
      case 1:
        return Below(2) == 0;
      case 2:
        return *ReadDate(Below(2) ? "2024-05-31" : "2023-01-01");
      default:
        return Text();
    }
  }
  Condition Any(int depth, const std::vector<Plain>& documents) {
    const int kind = Below(depth > 3 ? 8 : 11);
    static const char* const kNames[] = {"year", "lang",    "draft", "day",    "a b",
                                         "none", "@source", "@path", "@title", "@id"};
    Condition condition;
    if (kind >= 8) {
      condition.kind = kind == 8 ? Kind::kAnd : kind == 9 ? Kind::kOr : Kind::kNot;
      for (int i = kind == 10 ? 1 : Below(4); i > 0; --i) condition.parts.push_back(Any(depth + 1, documents));
      return condition;
    }
    static const Kind kKinds[] = {Kind::kEqual,          Kind::kLess, Kind::kLessOrEqual, Kind::kGreater,
                                  Kind::kGreaterOrEqual, Kind::kIn,   Kind::kPrefix,      Kind::kExists};
    condition.kind = kKinds[kind];
    condition.name = kNames[Below(10)];
    const int values = condition.kind == Kind::kExists ? 0 : condition.kind == Kind::kIn ? Below(4) : 1;
    for (int i = 0; i < values; ++i) {
      const Plain& some = documents[static_cast<size_t>(Below(static_cast<int>(documents.size())))];
      const std::string* stored = Stored(some, condition.name);
      if (stored && Below(2))
        condition.values.push_back(condition.kind == Kind::kPrefix ? stored->substr(0, stored->size() / 2) : *stored);
      else
        condition.values.push_back(condition.kind == Kind::kPrefix ? FilterValue(Text()) : Value());
    }
    return condition;
  }

 private:
  std::mt19937 random_;
};

TEST(FilterTest, RandomConditionsLetThroughWhatAPlainLoopDoes) {
  TemporaryFolder folder;
  auto collection = *Collection::Open(folder, WriteOptions());
  Generator generator(1);
  std::vector<Plain> plain;
  std::vector<Document> documents;
  for (int i = 0; i < 120; ++i) {
    plain.push_back(generator.Document(i));
    documents.push_back(TextDocument(plain.back().path, absl::StrCat("common text number", i), plain.back().source));
    documents.back().title = plain.back().title;
    documents.back().metadata = plain.back().metadata;
  }
  ASSERT_TRUE(collection->Put(documents).ok());
  int narrow = 0, none = 0, all = 0;
  for (int round = 0; round < 600; ++round) {
    const Condition condition = generator.Any(0, plain);
    const std::string text = ConditionText(condition);
    SCOPED_TRACE(text);
    std::set<std::string> expected;
    for (const Plain& document : plain) {
      if (Passes(document, condition)) expected.insert(document.id);
    }
    none += expected.empty();
    all += expected.size() == plain.size();
    narrow += !expected.empty() && expected.size() < plain.size();
    Filter filter;
    filter.where = MustParse(text);
    std::set<std::string> listed;
    const absl::StatusOr<DocumentPage> page = collection->List(1000, "", filter);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const DocumentInfo& document : page->documents) listed.insert(document.id);
    ASSERT_EQ(listed, expected);
    if (round % 4 != 0) continue;
    for (const SearchMode mode : {SearchMode::kBoth, SearchMode::kWords, SearchMode::kMeaning}) {
      Query query;
      query.text = "common text";
      query.count = 7;
      query.mode = mode;
      query.filter = filter;
      const absl::StatusOr<std::vector<ScoredChunk>> found = collection->Search(query);
      ASSERT_TRUE(found.ok()) << found.status();
      ASSERT_EQ(found->size(), std::min<size_t>(7, expected.size()));
      for (const ScoredChunk& chunk : *found) ASSERT_TRUE(expected.contains(chunk.document_id));
    }
  }
  EXPECT_GT(narrow, 200);
  EXPECT_GT(none, 20);
  EXPECT_GT(all, 20);
}

TEST(FilterTest, FollowsChangesOfTheCollection) {
  TemporaryFolder folder;
  auto collection = *Collection::Open(folder, WriteOptions());
  Query query;
  query.text = "common text";
  query.filter.where = MustParse("year >= 2020");
  for (int year = 2015; year < 2025; ++year) {
    Document document = TextDocument(absl::StrCat(year), "common text");
    document.metadata["year"] = absl::StrCat(year);
    ASSERT_TRUE(collection->Put({document}).ok());
    EXPECT_EQ(collection->Search(query)->size(), static_cast<size_t>(std::max(0, year - 2019)));
  }
  ASSERT_TRUE(collection->Delete({DocumentId("tests", "2022")}).ok());
  EXPECT_EQ(collection->Search(query)->size(), 4u);
  query.filter.where->values.clear();
  EXPECT_EQ(collection->Search(query).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(collection->List(10, "", query.filter).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blazon::retrieval
