// The word index and the search in it, beside a plain count of all chunks and beside SQLite's FTS5.
#include "retrieval/word_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "retrieval/text_language.h"
#include "retrieval/word_index_writer.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::HasSubstr;

struct ModelChunk {
  std::string title, headings, text;
  bool live = true;
};
using Model = std::map<int64_t, ModelChunk>;  // by chunk id

// Few words are common and most are rare.
std::string MadeWord(std::mt19937& random, int vocabulary) {
  const double uniform = std::uniform_real_distribution<double>(0, 1)(random);
  return absl::StrCat("word", static_cast<int>(std::pow(uniform, 3.0) * vocabulary));
}

std::string MadeText(std::mt19937& random, int words, int vocabulary) {
  std::string text;
  for (int i = 0; i < words; ++i) absl::StrAppend(&text, MadeWord(random, vocabulary), " ");
  return text;
}

std::shared_ptr<const WordIndex> IndexOf(int64_t number, const Model& model) {
  WordIndexBuilder builder;
  for (const auto& [id, chunk] : model) builder.Add(id, "", chunk.title, chunk.headings, chunk.text);
  return *builder.Build(number);
}

WordSearch::Part PartOf(std::shared_ptr<const WordIndex> index, const Model& model) {
  WordSearch::Part part;
  part.index = std::move(index);
  part.live.resize(static_cast<size_t>((part.index->size() + 7) / 8));
  for (int64_t row = 0; row < part.index->size(); ++row) {
    if (!model.at(part.index->ids()[static_cast<size_t>(row)]).live) continue;
    part.live[static_cast<size_t>(row / 8)] |= static_cast<uint8_t>(1 << (row % 8));
    ++part.live_count;
    part.live_length += part.index->lengths()[static_cast<size_t>(row)];
  }
  return part;
}

// Chunks spread over segments at random, some of them deleted.
struct Made {
  Model model;
  std::map<int64_t, Model> segments;
  std::unique_ptr<WordSearch> search;
};
Made MakeCollection(unsigned seed, int chunks, int vocabulary, int segments, double dead) {
  std::mt19937 random(seed);
  Made made;
  for (int64_t id = 1; id <= chunks; ++id) {
    ModelChunk chunk;
    if (random() % 3 == 0) chunk.title = MadeText(random, 1 + static_cast<int>(random() % 4), vocabulary);
    if (random() % 4 == 0) chunk.headings = MadeText(random, 1 + static_cast<int>(random() % 6), vocabulary);
    chunk.text = MadeText(random, static_cast<int>(random() % (id % 7 == 0 ? 300 : 40)), vocabulary);
    chunk.live = std::uniform_real_distribution<double>(0, 1)(random) >= dead;
    made.segments[1 + static_cast<int64_t>(random() % static_cast<unsigned>(segments))][id] = chunk;
    made.model[id] = chunk;
  }
  std::map<int64_t, WordSearch::Part> parts;
  for (const auto& [number, model] : made.segments) parts[number] = PartOf(IndexOf(number, model), model);
  made.search = std::make_unique<WordSearch>(std::move(parts));
  return made;
}

struct Counted {
  std::map<std::string, double> frequencies;  // occurrences, weighted
  double length = 0;
};
std::map<int64_t, Counted> CountLive(const Model& model) {
  std::map<int64_t, Counted> counted;
  for (const auto& [id, chunk] : model) {
    if (!chunk.live) continue;
    Counted& counts = counted[id];
    for (const auto& [text, weight] : {std::pair(&chunk.title, 2.0), {&chunk.headings, 1.5}, {&chunk.text, 1.0}}) {
      for (const auto word : absl::StrSplit(*text, ' ', absl::SkipEmpty())) {
        counts.frequencies[std::string(word)] += weight;
        ++counts.length;
      }
    }
  }
  return counted;
}

// BM25 by its definition.
std::vector<WordHit> ExhaustiveBest(const std::map<int64_t, Counted>& counted, const std::vector<std::string>& words,
                                    size_t count, const std::set<int64_t>* allowed) {
  double total = 0;
  for (const auto& [id, counts] : counted) total += counts.length;
  const double chunks = static_cast<double>(counted.size()), average = total / chunks;
  std::map<int64_t, double> scores;
  for (const std::string& word : words) {
    double containing = 0;
    for (const auto& [id, counts] : counted) containing += static_cast<double>(counts.frequencies.count(word));
    const double idf = std::max(1e-6, std::log((chunks - containing + 0.5) / (containing + 0.5)));
    for (const auto& [id, counts] : counted) {
      const auto found = counts.frequencies.find(word);
      if (found == counts.frequencies.end() || (allowed && !allowed->contains(id))) continue;
      const double f = found->second;
      scores[id] += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * counts.length / average));
    }
  }
  std::vector<WordHit> hits;
  for (const auto& [id, score] : scores) hits.push_back({id, score});
  std::sort(hits.begin(), hits.end(), [](const WordHit& a, const WordHit& b) {
    const auto x = static_cast<float>(a.score), y = static_cast<float>(b.score);
    return x > y || (x == y && a.chunk_id < b.chunk_id);
  });
  if (hits.size() > count) hits.resize(count);
  return hits;
}

WordQuery QueryOf(const std::vector<std::string>& words) {
  WordQuery query;
  for (const std::string& word : words) query.words.push_back({word});
  return query;
}

class WordSearchTest : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Seeds, WordSearchTest, testing::Range(1u, 7u));

TEST_P(WordSearchTest, FindsWhatAnExhaustiveSearchFinds) {
  std::mt19937 random(GetParam() * 77);
  const int chunks = GetParam() == 6 ? 9000 : 200 + static_cast<int>(random() % 1500);
  const double dead = GetParam() % 2 ? 0.2 : 0;
  const Made made = MakeCollection(GetParam(), chunks, GetParam() == 6 ? 300 : 2000,
                                   GetParam() == 6 ? 2 : 1 + static_cast<int>(random() % 5), dead);
  const std::map<int64_t, Counted> counted = CountLive(made.model);
  int64_t compared = 0;
  for (int i = 0; i < 40; ++i) {
    std::vector<std::string> words;
    for (unsigned n = 1 + random() % 8; n > 0; --n) words.push_back(MadeWord(random, 2000));
    if (random() % 5 == 0) words.push_back("unknown");
    if (random() % 5 == 0) words.push_back(words[0]);
    const size_t count = 1 + random() % (i % 4 == 0 ? 1000 : 20);
    // All chunks; some; few.
    std::set<int64_t> allowed_ids;
    const unsigned filter = random() % 3;
    absl::flat_hash_map<int64_t, WordSearch::Allowed> allowed;
    for (const auto& [id, chunk] : made.model) {
      if (chunk.live && random() % (filter == 1 ? 3 : 100) == 0) allowed_ids.insert(id);
    }
    for (const auto& [number, part] : made.search->parts()) {
      WordSearch::Allowed& rows = allowed[number];
      rows.bits.resize(part.live.size());
      for (const int64_t id : allowed_ids) {
        const int64_t row = part.index->Find(id);
        if (row < 0) continue;
        rows.bits[static_cast<size_t>(row / 8)] |= static_cast<uint8_t>(1 << (row % 8));
        ++rows.count;
      }
    }
    SCOPED_TRACE(absl::StrCat(absl::StrJoin(words, " "), ", ", count, " of ", filter ? allowed_ids.size() : 0));
    const auto expected = ExhaustiveBest(counted, words, count, filter ? &allowed_ids : nullptr);
    const auto weighed = made.search->Weigh(QueryOf(words));
    ASSERT_TRUE(weighed.ok()) << weighed.status();
    const auto found = made.search->Best(*weighed, static_cast<int64_t>(count), filter ? &allowed : nullptr);
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->size(), expected.size());
    for (size_t j = 0; j < expected.size(); ++j) {
      ASSERT_NEAR((*found)[j].score, expected[j].score, 1e-6 * expected[j].score) << "place " << j;
      if ((*found)[j].chunk_id != expected[j].chunk_id) {  // as good, to the last digits
        const auto match = made.search->MatchOf(*weighed, expected[j].chunk_id);
        ASSERT_NEAR(match->score, (*found)[j].score, 1e-6 * match->score) << "place " << j;
      }
      ASSERT_NEAR(made.search->MatchOf(*weighed, (*found)[j].chunk_id)->score, (*found)[j].score,
                  1e-6 * expected[j].score);
      ++compared;
    }
  }
  EXPECT_GT(compared, 200);
}

TEST_P(WordSearchTest, ScoresAsFts5Does) {
  const Made made = MakeCollection(GetParam(), 400, 1000, 3, 0.1);
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(":memory:", &handle), SQLITE_OK);
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> database(handle, sqlite3_close);
  std::string sql =
      "CREATE VIRTUAL TABLE words USING fts5(title, headings, text, tokenize = 'porter unicode61 remove_diacritics "
      "2');";
  for (const auto& [id, chunk] : made.model) {
    if (chunk.live)
      absl::StrAppend(&sql, "INSERT INTO words (rowid, title, headings, text) VALUES (", id, ", '", chunk.title, "', '",
                      chunk.headings, "', '", chunk.text, "');");
  }
  ASSERT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
  std::mt19937 random(GetParam());
  for (int i = 0; i < 20; ++i) {
    std::vector<std::string> words;
    for (unsigned n = 1 + random() % 6; n > 0; --n) words.push_back(MadeWord(random, 1000));
    std::map<int64_t, double> expected;
    sql = absl::StrCat("SELECT rowid, -bm25(words, 2.0, 1.5, 1.0) FROM words WHERE words MATCH '",
                       absl::StrJoin(words, " OR "), "'");
    ASSERT_EQ(sqlite3_exec(
                  handle, sql.c_str(),
                  [](void* to, int, char** values, char**) {
                    (*static_cast<std::map<int64_t, double>*>(to))[std::atoll(values[0])] = std::atof(values[1]);
                    return 0;
                  },
                  &expected, nullptr),
              SQLITE_OK);
    const auto found = made.search->Best(*made.search->Weigh(QueryOf(words)), 1000);
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->size(), expected.size());
    for (const WordHit& hit : *found) ASSERT_NEAR(hit.score, expected.at(hit.chunk_id), 2e-6 * hit.score);
  }
}

TEST(WordIndexTest, AMergedIndexIsTheOneOfItsTexts) {
  const Made made = MakeCollection(11, 900, 3000, 4, 0.3);
  WordIndexBuilder added;
  Model all;
  for (const auto& [id, chunk] : made.model) {
    if (chunk.live) all[id] = chunk;
  }
  for (int64_t id = 2000; id < 2050; ++id) {
    all[id].text = absl::StrCat("new words ", id);
    added.Add(id, "", "", "", all[id].text);
  }
  std::vector<WordIndexBuilder::Source> sources;
  for (const auto& [number, part] : made.search->parts()) sources.push_back({part.index, part.live});
  const auto merged = added.Build(9, sources);
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ((*merged)->checksum(), IndexOf(9, all)->checksum());
  EXPECT_TRUE((*merged)->CheckContent().ok()) << (*merged)->CheckContent();
}

TEST(WordIndexTest, AnEmptyOneAndOneWithoutWordsAreFine) {
  const auto none = WordIndexBuilder().Build(1);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ((*none)->Find("word").count, 0);
  WordIndexBuilder builder;
  builder.AddWithoutWords(7);
  builder.Add(8, "", "", "", "-- !!");
  const auto wordless = builder.Build(2);
  ASSERT_TRUE(wordless.ok()) << wordless.status();
  EXPECT_EQ((*wordless)->size(), 2);
  EXPECT_EQ((*wordless)->terms(), 0);
  const Model model = {{7, {}}, {8, {}}};
  const WordSearch search({{2, PartOf(*wordless, model)}});
  EXPECT_TRUE(search.Best(*search.Weigh(QueryOf({"word"})), 10)->empty());
}

TEST(WordIndexTest, EachFlippedBitIsFound) {
  TemporaryFolder folder;
  Files files;
  const auto index = IndexOf(3, MakeCollection(5, 20, 50, 1, 0).model);
  ASSERT_TRUE(index->Write(folder, files).ok());
  const std::filesystem::path file = folder.path() / WordIndex::FileName(3);
  ASSERT_TRUE(WordIndex::Read(folder, 3, index->checksum()).ok());
  EXPECT_EQ(WordIndex::Read(folder, 4, index->checksum()).status().code(), absl::StatusCode::kNotFound);
  const std::string whole = ReadFile(file);
  std::mt19937 random(1);
  for (size_t byte = 0; byte < whole.size(); byte += byte < sizeof(WordIndexHeader) ? 1 : 5) {
    std::string damaged = whole;
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << (random() % 8)));
    WriteFile(file, damaged);
    const auto read = WordIndex::Read(folder, 3, index->checksum());
    ASSERT_FALSE(read.ok()) << "byte " << byte;
    if (byte < 8 || byte >= 12) {
      ASSERT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << read.status();
      ASSERT_THAT(std::string(read.status().message()), HasSubstr("segment-3.words"));
    }
  }
  for (const std::string& cut : {whole.substr(0, whole.size() - 1), whole + "x", std::string(), whole.substr(0, 60)}) {
    WriteFile(file, cut);
    EXPECT_EQ(WordIndex::Read(file).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(WordAnalyzerTest, FoldsAndStems) {
  const auto terms = [](std::string_view text) {
    std::string all;
    WordAnalyzer().Analyze(text, [&all](std::string_view term) { absl::StrAppend(&all, std::string(term), "|"); });
    return all;
  };
  EXPECT_EQ(terms("The RUNNING dogs' 2nd-hand\tcats."), "the|run|dog|2nd|hand|cat|");
  EXPECT_EQ(terms("Café naïve Ünïcode"), terms("cafe naive unicode"));
  EXPECT_EQ(terms("Cafe\xcc\x81"), terms("café"));  // spelled with a combining accent
  EXPECT_EQ(terms("Ёлка Йод"), "ёлка|йод|");        // letters of their own
  EXPECT_EQ(terms("\xd0\xb8\xcc\x86\xd0\xbe\xd0\xb4"), "йод|");
  EXPECT_EQ(terms("हिन्दी"), "हिन्दी|");
  EXPECT_EQ(terms("a\xff"
                  "b"),
            "a|b|");
  EXPECT_EQ(terms(""), "");
}

std::string TermsOf(std::string_view language, std::string_view text) {
  std::string all;
  WordAnalyzer(StemsOf(language)).Analyze(text, [&all](std::string_view term) {
    absl::StrAppend(&all, std::string(term), "|");
  });
  return all;
}

TEST(WordAnalyzerTest, StemsByLanguage) {
  EXPECT_EQ(TermsOf("en", "running houses"), TermsOf("", "running houses"));
  EXPECT_EQ(TermsOf("de", "Häuser Haus"), "haus|haus|");
  EXPECT_EQ(TermsOf("es", "educación educaciones"), "educ|educ|");
  EXPECT_EQ(TermsOf("ru", "книги книгами"), "книг|книг|");
  EXPECT_EQ(TermsOf("fr", "mangée mangés"), "mang|mang|");
  EXPECT_EQ(TermsOf("pl", "domami dom"), "domami|dom|");  // no stemmer
}

TEST(WordAnalyzerTest, FindsWordsWhereThereAreNoSpaces) {
  EXPECT_EQ(TermsOf("zh", "他们在北京大学学习"), "他们|在|北京|大学|学习|");
  EXPECT_EQ(TermsOf("ja", "東京の大学で勉強する"), "東京|の|大学|で|勉強|する|");
  EXPECT_EQ(TermsOf("th", "ภาษาไทย"), "ภาษา|ไทย|");
  EXPECT_EQ(TermsOf("", "Linux系统running"), TermsOf("", "Linux 系统 running"));
}

TEST(TextLanguageTest, IsDetectedFromSomeSentences) {
  EXPECT_EQ(
      DetectLanguage("Die Gemeinde liegt am Rande des Gebirges und hat seit dem Mittelalter einen Markt. Im Winter "
                     "fahren viele Gäste mit dem Zug dorthin, um Ski zu laufen."),
      "de");
  EXPECT_EQ(DetectLanguage("La commune est située au bord de la rivière et possède un marché depuis le Moyen Âge. En "
                           "hiver, beaucoup de visiteurs y viennent par le train pour faire du ski."),
            "fr");
  EXPECT_EQ(
      DetectLanguage("The village lies at the edge of the mountains and has had a market since the Middle Ages. In "
                     "winter many guests go there by train to ski."),
      "en");
  EXPECT_EQ(DetectLanguage(
                "这个村庄位于山脚下，自中世纪以来就有一个集市。冬天，许多游客乘火车去那里滑雪。夏天，人们在河边散步，"
                "孩子们在草地上玩耍。"),
            "zh");
  EXPECT_EQ(
      DetectLanguage(
          "村は山のふもとにあり、中世から市場が開かれています。冬には多くの人が列車でそこへ行き、スキーを楽しみます。"),
      "ja");
  EXPECT_EQ(DetectLanguage("short"), "");
  EXPECT_EQ(DetectLanguage(""), "");
  EXPECT_EQ(DetectLanguage(std::string(300, '\x01')), "");
  EXPECT_EQ(DetectLanguage("int main() { return x[0] + y[1]; } // 12345 67890 {}{}{}"), "");
}

// Each document is found by the stems of its language, English ones as before.
TEST(WordSearchLanguagesTest, EachDocumentHasTheStemsOfItsLanguage) {
  TemporaryFolder folder;
  const CollectionOptions options = WriteOptions();
  auto collection = *Collection::Open(folder, options);
  Document german = TextDocument("de.txt", "Die Häuser der Stadt."),
           japanese = TextDocument("ja.txt", "東京の大学で勉強する");
  german.metadata["language"] = "de";
  ASSERT_TRUE(collection->Put({german, japanese, TextDocument("en.txt", "The houses of a city; running water.")}).ok());
  const auto found = [&collection](const std::string& text) {
    Query query;
    query.text = text;
    query.mode = SearchMode::kWords;
    const auto hits = collection->Search(query);
    EXPECT_TRUE(hits.ok()) << hits.status();
    std::string paths;
    for (const ScoredChunk& hit : *hits) absl::StrAppend(&paths, hit.path, " ", hit.coverage, ";");
    return paths;
  };
  for (int opened = 0; opened < 2; ++opened) {
    EXPECT_EQ(found("Haus"), "de.txt 1;");
    EXPECT_EQ(found("大学"), "ja.txt 1;");
    EXPECT_EQ(found("house runs"), "en.txt 1;");
    collection.reset();
    collection = *Collection::Open(folder, options);
  }
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
}

// What is given counts more than metadata and detection, and is what makes a document another one.
TEST(WordSearchLanguagesTest, ALanguageCanBeGiven) {
  TemporaryFolder folder;
  auto collection = *Collection::Open(folder, WriteOptions());
  Document document = TextDocument("de.txt", "Die Häuser der Stadt.");
  const auto put = [&] {
    const auto outcomes = collection->Put({document});
    EXPECT_TRUE(outcomes.ok()) << outcomes.status();
    return outcomes.ok() ? outcomes->front() : PutOutcome::kUnchanged;
  };
  const auto finds = [&collection](const std::string& text) {
    Query query;
    query.text = text;
    query.mode = SearchMode::kWords;
    return !collection->Search(query)->empty();
  };
  EXPECT_EQ(put(), PutOutcome::kAdded);
  EXPECT_FALSE(finds("Haus"));  // too short a text to tell its language
  document.language = "de";
  EXPECT_EQ(put(), PutOutcome::kReplaced);
  EXPECT_TRUE(finds("Haus"));
  EXPECT_EQ(collection->Get(DocumentId("tests", "de.txt"))->language, "de");
  EXPECT_EQ(collection->List()->documents[0].language, "de");
  EXPECT_EQ(put(), PutOutcome::kUnchanged);
  document.language.clear();
  EXPECT_EQ(put(), PutOutcome::kUnchanged);
  document.language = "en";
  document.metadata["language"] = "de";
  EXPECT_EQ(put(), PutOutcome::kReplaced);
  EXPECT_FALSE(finds("Haus"));
  for (const char* wrong : {"xq", "DE", "deu", "german", "d\n"}) {
    document.language = wrong;
    const absl::Status refused = collection->Put({document}).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_NE(refused.message().find(" da de el en "), std::string::npos) << refused;
    EXPECT_NE(refused.message().find(" ja "), std::string::npos) << refused;
  }
}

}  // namespace
}  // namespace blazon::retrieval
