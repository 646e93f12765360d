// Damaged collections: every flipped bit is found or does no harm, verify names what is damaged, repair mends it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection_care.h"
#include "retrieval/collection_impl.h"
#include "retrieval/sqlite.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

CollectionOptions Writing() {
  CollectionOptions options = WriteOptions(16);
  options.chunker.target_tokens = 32;
  return options;
}

std::string TextOf(int document, int version) {
  std::string text = absl::StrCat("Document ", document, " in version", version, ". ");
  for (int i = 0; i < 10 + document * 3; ++i)
    absl::StrAppend(&text, "Sentence ", i, " tells of word", (document * 31 + i * 7) % 97, " and of common things. ");
  return text;
}

void Fill(Collection& collection) {
  for (int version = 1; version <= 3; ++version) {
    for (int begin = 0; begin < 12; begin += 4) {
      std::vector<Document> documents;
      for (int i = begin; i < begin + 4; ++i) {
        Document document = TextDocument(absl::StrCat(i, ".txt"), TextOf(i, i % 3 < version ? version : 1));
        document.metadata["number"] = absl::StrCat(i);
        documents.push_back(std::move(document));
      }
      ASSERT_TRUE(collection.Put(documents).ok());
    }
    if (version == 2) {  // what comes later is in the log alone
      const auto database = Database::Open(collection.folder() / "collection.db", false, "");
      ASSERT_TRUE(database.ok() && (*database)->Run("PRAGMA wal_checkpoint(PASSIVE)").ok());
    }
  }
  ASSERT_TRUE(collection.Delete({DocumentId("tests", "5.txt")}).ok());
  ASSERT_TRUE(collection.SetSetting("threshold", "0.25").ok());
}

// Flipped bits to try in each state; `make soak` tries more.
int Flips() {
  const char* text = std::getenv("BLAZON_FLIPS");
  return text ? std::atoi(text) : 100;
}

void CopyFolder(const fs::path& from, const fs::path& to) {
  fs::remove_all(to);
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) fs::copy_file(entry.path(), to / entry.path().filename());
}

// Everything that can be asked, as one text.
absl::StatusOr<std::string> Answers(const fs::path& folder) {
  CollectionOptions options = Writing();
  options.mode = OpenMode::kRead;
  options.create = false;
  const auto collection = Collection::Open(folder, options);
  if (!collection.ok()) return collection.status();
  const auto setting = (*collection)->Setting("threshold");
  if (!setting.ok()) return setting.status();
  std::string answers = absl::StrCat("setting ", *setting, "\n");
  const auto page = (*collection)->List(1000);
  if (!page.ok()) return page.status();
  for (const DocumentInfo& info : page->documents) {
    const auto document = (*collection)->Get(info.id);
    if (!document.ok()) return document.status();
    absl::StrAppend(&answers, info.path, " ", info.title, " ", document->metadata.at("number"), "\n", document->text,
                    "\n");
  }
  for (const SearchMode mode : {SearchMode::kBoth, SearchMode::kWords, SearchMode::kMeaning}) {
    for (const char* text : {"common things", "word38 word7 sentence 4", "version2"}) {
      Query query;
      query.text = text;
      query.mode = mode;
      query.count = 100;
      const auto found = (*collection)->Search(query);
      if (!found.ok()) return found.status();
      for (const ScoredChunk& chunk : *found)
        absl::StrAppend(&answers, chunk.path, ":", chunk.span.begin, " ", chunk.score, " ", chunk.text, "\n");
    }
  }
  return answers;
}

// A collection at rest ("closed"), and as a killed writer leaves it, with a log that is in part in the database.
class CollectionDamageTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const fs::path place = folder_.path() / "made";
    auto collection = *Collection::Open(place, Writing());
    Fill(*collection);
    if (std::string(GetParam()) == "closed") collection.reset();
    CopyFolder(place, pristine_);
    collection.reset();
    CopyFolder(pristine_, damaged_);
    const auto answers = Answers(damaged_);
    ASSERT_TRUE(answers.ok()) << answers.status();
    answers_ = *answers;
    ASSERT_EQ(fs::exists(pristine_ / "collection.db-wal"), std::string(GetParam()) == "killed");
  }

  void Flip(const fs::path& file, size_t bit) {
    std::string bytes = ReadFile(file);
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    WriteFile(file, bytes);
  }

  TemporaryFolder folder_;
  const fs::path pristine_ = folder_.path() / "pristine", damaged_ = folder_.path() / "damaged";
  std::string answers_;
};

INSTANTIATE_TEST_SUITE_P(States, CollectionDamageTest, testing::Values("closed", "killed"));

TEST_P(CollectionDamageTest, AFlippedBitIsFoundOrChangesNothingAndIsMended) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(pristine_)) files.push_back(entry.path().filename().string());
  std::sort(files.begin(), files.end());
  std::mt19937_64 random(11);
  std::map<std::string, std::pair<int, int>> outcomes;  // file -> found, harmless
  int mended = 0;
  for (int i = 0; i < Flips(); ++i) {
    const std::string name = files[static_cast<size_t>(i) % files.size()];
    CopyFolder(pristine_, damaged_);
    const size_t bits = fs::file_size(damaged_ / name) * 8;
    if (bits == 0) continue;
    const size_t bit = random() % bits;
    SCOPED_TRACE(absl::StrCat(name, " bit ", bit, " (byte ", bit / 8, ")"));
    Flip(damaged_ / name, bit);
    const auto verified = VerifyCollection(damaged_);
    ASSERT_TRUE(verified.ok()) << verified.status();
    CopyFolder(pristine_, damaged_);
    Flip(damaged_ / name, bit);
    const auto answers = Answers(damaged_);
    if (answers.ok()) {
      ASSERT_EQ(*answers, answers_);
      ++outcomes[name].second;
    } else {
      ASSERT_TRUE(absl::IsDataLoss(answers.status()) || absl::IsFailedPrecondition(answers.status()))
          << answers.status();
      EXPECT_FALSE(verified->damage.empty()) << "a search finds what verify does not: " << answers.status();
      ++outcomes[name].first;
    }
    if (verified->damage.empty() || i % 4 != 0) continue;
    const auto repaired = RepairCollection(damaged_, Writing());
    ASSERT_TRUE(repaired.ok()) << repaired.status();
    EXPECT_TRUE(repaired->lost.empty()) << repaired->lost[0];
    const auto after = Answers(damaged_);
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_EQ(*after, answers_);
    ++mended;
  }
  for (const auto& [name, counts] : outcomes)
    std::printf("%-20s %3d flipped bits found, %3d without effect\n", name.c_str(), counts.first, counts.second);
  std::printf("%d of them mended, nothing lost\n", mended);
  EXPECT_GT(mended, Flips() / 10);
}

TEST_P(CollectionDamageTest, WhatAWorseDamageCostsIsNamedAndTheRestSurvives) {
  std::mt19937 random(5);
  int lost_documents = 0, refused = 0;
  for (int i = 0; i < 12; ++i) {
    CopyFolder(pristine_, damaged_);
    std::string bytes = ReadFile(damaged_ / "collection.db");
    const size_t pages = bytes.size() / 4096;
    const size_t page = random() % pages;
    SCOPED_TRACE(absl::StrCat("page ", page + 1, " of ", pages));
    for (size_t byte = 0; byte < 512; ++byte) bytes[page * 4096 + 1000 + byte] = static_cast<char>(random());
    WriteFile(damaged_ / "collection.db", bytes);
    const auto verified = VerifyCollection(damaged_);
    ASSERT_TRUE(verified.ok()) << verified.status();
    ASSERT_FALSE(verified->damage.empty());
    EXPECT_THAT(std::string(ToStatus(*verified, damaged_).message()), HasSubstr(absl::StrCat("page ", page + 1, " ")));
    const auto repaired = RepairCollection(damaged_, Writing());
    if (!repaired.ok()) {  // the schema itself
      EXPECT_TRUE(absl::IsDataLoss(repaired.status())) << repaired.status();
      EXPECT_THAT(std::string(repaired.status().message()), HasSubstr("snapshot"));
      ++refused;
      continue;
    }
    const auto again = VerifyCollection(damaged_);
    ASSERT_TRUE(again.ok() && again->damage.empty());
    const auto collection = *Collection::Open(damaged_, Writing());
    std::set<std::string> present;
    const auto listed = collection->List(1000);
    ASSERT_TRUE(listed.ok()) << listed.status();
    for (const DocumentInfo& info : listed->documents) {
      present.insert(info.path);
      const int number = std::atoi(info.path.c_str());
      const std::string text = collection->Get(info.id)->text;
      EXPECT_EQ(text, TextOf(number, std::atoi(text.c_str() + text.find("version") + 7)));
    }
    for (int number = 0; number < 12; ++number) {
      const std::string path = absl::StrCat(number, ".txt");
      if (number == 5 || present.contains(path)) continue;
      ++lost_documents;
      bool named = false;
      for (const std::string& lost : repaired->lost)
        named |= absl::StrContains(lost, absl::StrCat("/", path)) || absl::StrContains(lost, "cannot be read");
      EXPECT_TRUE(named) << path << " is lost and not named";
    }
    EXPECT_TRUE(fs::exists(fs::path(repaired->kept_in) / "collection.db"));
    ASSERT_TRUE(collection->Put({TextDocument("new.txt", "It goes on.")}).ok());
    EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
  }
  std::printf("12 pages overwritten: %d documents lost, all named; %d times nothing could be read\n", lost_documents,
              refused);
  EXPECT_LT(refused, 4);
}

TEST_P(CollectionDamageTest, LostVectorsAreMadeAgain) {
  for (const auto& entry : fs::directory_iterator(pristine_)) {
    const std::string name = entry.path().filename().string();
    if (!absl::EndsWith(name, ".vec")) continue;
    CopyFolder(pristine_, damaged_);
    fs::remove(damaged_ / name);
    const auto repaired = RepairCollection(damaged_, Writing());
    ASSERT_TRUE(repaired.ok()) << repaired.status();
    EXPECT_GT(repaired->vectors_embedded, 0);
    EXPECT_TRUE(repaired->lost.empty());
    EXPECT_EQ(*Answers(damaged_), answers_);
    const auto nothing = RepairCollection(damaged_, Writing());
    ASSERT_TRUE(nothing.ok());
    EXPECT_TRUE(nothing->damage.empty());
  }
}

TEST_P(CollectionDamageTest, LostWordIndexesAreMadeAgain) {
  int mended = 0;
  for (const auto& entry : fs::directory_iterator(pristine_)) {
    if (entry.path().extension() != ".words") continue;
    CopyFolder(pristine_, damaged_);
    const fs::path file = damaged_ / entry.path().filename();
    if (++mended % 2) {
      fs::remove(file);
    } else {
      fs::resize_file(file, fs::file_size(file) / 2);
    }
    const auto answers = Answers(damaged_);
    EXPECT_EQ(answers.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(answers.status().message()), HasSubstr(file.filename().string()));
    EXPECT_EQ(Collection::Open(damaged_, Writing()).status().code(), absl::StatusCode::kDataLoss);
    const auto repaired = RepairCollection(damaged_, Writing());
    ASSERT_TRUE(repaired.ok()) << repaired.status();
    EXPECT_EQ(repaired->word_indexes_made, 1);
    EXPECT_EQ(repaired->vectors_embedded, 0);
    EXPECT_EQ(*Answers(damaged_), answers_);
  }
  EXPECT_GT(mended, 0);
}

TEST(CollectionSnapshotTest, KeepsItsGenerationWhileTheCollectionGoesOn) {
  TemporaryFolder folder;
  const fs::path place = folder.path() / "collection", snapshot = folder.path() / "snapshot",
                 restored = folder.path() / "restored";
  auto collection = *Collection::Open(place, Writing());
  Fill(*collection);
  const std::string answers = *Answers(place);
  const auto report = SnapshotCollection(place, snapshot);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->documents, 11);
  EXPECT_GT(report->linked, 0);
  EXPECT_EQ(*Answers(snapshot), answers);
  EXPECT_EQ(SnapshotCollection(place, snapshot).status().code(), absl::StatusCode::kAlreadyExists);

  for (int i = 0; i < 12; ++i)
    ASSERT_TRUE(collection->Put({TextDocument(absl::StrCat(i, ".txt"), "other words altogether")}).ok());
  collection.reset();
  fs::remove_all(place);
  EXPECT_EQ(*Answers(snapshot), answers);
  EXPECT_TRUE(VerifyCollection(snapshot)->damage.empty());
  ASSERT_TRUE(RestoreCollection(snapshot, restored).ok());
  EXPECT_EQ(*Answers(restored), answers);

  std::string bytes = ReadFile(snapshot / "collection.db");
  bytes[5000] = static_cast<char>(bytes[5000] ^ 4);
  WriteFile(snapshot / "collection.db", bytes);
  EXPECT_EQ(RestoreCollection(snapshot, folder.path() / "again").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(fs::exists(folder.path() / "again"));
  // The restored one is a collection like any other.
  collection = *Collection::Open(restored, Writing());
  ASSERT_TRUE(collection->Put({TextDocument("new.txt", "new")}).ok());
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
}

// A collection as older formats had it: words in FTS5 and no word files; 1 and 2 without reserved bytes, prefixes and a
// record of commits, 1 without places too.
class CollectionFormatTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Formats, CollectionFormatTest, testing::Values(1, 2, 3));

constexpr const char* kOlderSchema =
    "CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE segments (number INTEGER PRIMARY KEY, vectors INTEGER NOT NULL, checksum BLOB NOT NULL);"
    "CREATE TABLE tombstones (segment INTEGER NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (segment, chunk)) WITHOUT "
    "ROWID;"
    "CREATE TABLE documents (key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, "
    "path TEXT NOT NULL, title TEXT NOT NULL, parser TEXT NOT NULL, encoding TEXT NOT NULL, digest TEXT NOT NULL, "
    "chunker TEXT NOT NULL, chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, text TEXT NOT NULL, UNIQUE (source, "
    "path));"
    "CREATE TABLE document_metadata (document INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY "
    "(document, name)) WITHOUT ROWID;"
    "CREATE TABLE chunks (id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, span_begin INTEGER NOT "
    "NULL, span_end INTEGER NOT NULL, line INTEGER NOT NULL, segment INTEGER NOT NULL, place TEXT NOT NULL DEFAULT "
    "'', box TEXT NOT NULL DEFAULT '', prefix TEXT NOT NULL);"
    "CREATE INDEX chunks_by_document ON chunks (document);"
    "CREATE INDEX chunks_by_segment ON chunks (segment);"
    "CREATE VIRTUAL TABLE chunk_words USING fts5(title, headings, text, tokenize = 'porter unicode61 "
    "remove_diacritics 2');"
    "INSERT INTO manifest SELECT key, value FROM newer.manifest;"
    "INSERT INTO segments SELECT number, vectors, checksum FROM newer.segments;"
    "INSERT INTO tombstones SELECT segment, chunk FROM newer.tombstones;"
    "INSERT INTO documents SELECT key, id, source, path, title, parser, encoding, digest, chunker, chunks, bytes, text "
    "FROM newer.documents;"
    "INSERT INTO document_metadata SELECT document, name, value FROM newer.document_metadata;"
    "INSERT INTO chunks SELECT id, document, span_begin, span_end, line, segment, place, box, prefix FROM "
    "newer.chunks;"
    "INSERT INTO chunk_words (rowid, title, headings, text) SELECT c.id, d.title, c.headings, CAST(substr(CAST(d.text "
    "AS BLOB), c.span_begin + 1, c.span_end - c.span_begin) AS TEXT) FROM newer.chunks AS c JOIN newer.documents AS d "
    "ON d.key = c.document;";

void MakeOlder(const fs::path& place, int format) {
  const fs::path older = place / "older.db";
  std::unique_ptr<Database> checked;
  sqlite3* handle = nullptr;
  if (format == 3) {
    auto opened = ConnectDatabase(older, true, "");
    ASSERT_TRUE(opened.ok()) << opened.status();
    checked = *std::move(opened);
    handle = checked->handle();
    sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 1);
  } else {
    ASSERT_EQ(sqlite3_open(older.c_str(), &handle), SQLITE_OK);
  }
  const auto run = [handle](const std::string& sql) {
    char* error = nullptr;
    ASSERT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << sql << ": " << error;
  };
  run(absl::StrCat("PRAGMA journal_mode = WAL; ATTACH '", (place / "collection.db").string(), "' AS newer"));
  if (format == 3) run("PRAGMA application_id = 1112300110");
  run(kOlderSchema);
  if (format < 3) run("ALTER TABLE main.chunks DROP COLUMN prefix");
  if (format == 1) run("ALTER TABLE main.chunks DROP COLUMN place; ALTER TABLE main.chunks DROP COLUMN box");
  run(absl::StrCat("UPDATE main.manifest SET value = '", format, "' WHERE key = 'format'; DETACH newer"));
  if (!checked) sqlite3_close(handle);
  checked.reset();
  if (format < 3) fs::remove(place / "commits");
  fs::rename(older, place / "collection.db");
  std::vector<fs::path> words;
  for (const auto& entry : fs::directory_iterator(place)) {
    if (entry.path().extension() == ".words") words.push_back(entry.path());
  }
  ASSERT_FALSE(words.empty());
  for (const fs::path& file : words) fs::remove(file);
}

TEST_P(CollectionFormatTest, AnOlderOneIsReadAndBroughtToThisFormatByAWriter) {
  TemporaryFolder folder;
  const fs::path place = folder.path() / "collection";
  { Fill(**Collection::Open(place, Writing())); }
  const std::string answers = *Answers(place);
  MakeOlder(place, GetParam());
  if (HasFatalFailure()) return;

  EXPECT_EQ(*Answers(place), answers);
  EXPECT_EQ(VerifyCollection(place)->page_checksums, GetParam() == 3);
  EXPECT_TRUE(VerifyCollection(place)->damage.empty()) << ToStatus(*VerifyCollection(place), place);
  const uintmax_t size_before = fs::file_size(place / "collection.db");
  EXPECT_EQ(SnapshotCollection(place, folder.path() / "s").status().code(), absl::StatusCode::kFailedPrecondition);
  {
    const auto reader = *Collection::Open(place, ReadOptions(16));
    const auto writer = Collection::Open(place, Writing());
    EXPECT_EQ(writer.status().code(), absl::StatusCode::kUnavailable) << writer.status();
  }
  ASSERT_TRUE(Collection::Open(place, Writing()).ok());
  EXPECT_LT(fs::file_size(place / "collection.db"), size_before * 3 / 4);
  const auto verified = VerifyCollection(place);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_TRUE(verified->page_checksums);
  EXPECT_TRUE(verified->damage.empty()) << ToStatus(*verified, place);
  EXPECT_EQ(*Answers(place), answers);
  // Vectors made again from the prefixes that were worked out are the same.
  for (const auto& entry : fs::directory_iterator(place)) {
    if (absl::EndsWith(entry.path().string(), ".vec")) fs::remove(entry.path());
  }
  ASSERT_TRUE(RepairCollection(place, Writing()).ok());
  EXPECT_EQ(*Answers(place), answers);
}

// What format 3 has of worse damage is carried over into this format.
TEST(CollectionOlderRepairTest, AnOlderOneIsMended) {
  TemporaryFolder folder;
  const fs::path place = folder.path() / "collection";
  { Fill(**Collection::Open(place, Writing())); }
  const std::string answers = *Answers(place);
  MakeOlder(place, 3);
  if (HasFatalFailure()) return;
  for (const auto& entry : fs::directory_iterator(place)) {  // vectors alone: the format stays
    if (entry.path().extension() == ".vec") fs::resize_file(entry.path(), 100);
  }
  const auto vectors = RepairCollection(place, Writing());
  ASSERT_TRUE(vectors.ok()) << vectors.status();
  EXPECT_EQ(*Answers(place), answers);
  std::string bytes = ReadFile(place / "collection.db");
  const size_t page = bytes.find("tells of word") / 4096;  // of a text
  for (size_t i = 0; i < 200; ++i) bytes[page * 4096 + 2000 + i] = static_cast<char>(i);
  WriteFile(place / "collection.db", bytes);
  const auto repaired = RepairCollection(place, Writing());
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  EXPECT_GT(repaired->word_indexes_made, 0);
  EXPECT_TRUE(VerifyCollection(place)->damage.empty());
  const auto collection = *Collection::Open(place, Writing());
  const auto lost = std::count_if(repaired->lost.begin(), repaired->lost.end(),
                                  [](const std::string& what) { return absl::StartsWith(what, "document "); });
  EXPECT_EQ(static_cast<int64_t>(collection->List()->documents.size()) + lost, 11);
  EXPECT_LT(lost, 6);
  ASSERT_TRUE(collection->Put({TextDocument("new.txt", "It goes on.")}).ok());
}

TEST(CollectionNewerFormatTest, ANewerOneIsRefused) {
  TemporaryFolder folder;
  { ASSERT_TRUE(Collection::Open(folder, Writing()).ok()); }
  {
    const auto database = Database::Open(folder.path() / "collection.db", false, "");
    ASSERT_TRUE(database.ok() && (*database)->Run("UPDATE manifest SET value = '99' WHERE key = 'format'").ok());
  }
  for (const CollectionOptions& options : {ReadOptions(16), Writing()}) {
    const absl::Status status = Collection::Open(folder, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("format '99'; this program reads formats 1 to "));
  }
}

}  // namespace
}  // namespace blazon::retrieval
