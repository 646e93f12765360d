// index export and import: what comes out goes in again and is found as before; numpy reads the vectors, and Blazon
// reads numpy's.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/service/child_process.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class CliTransferTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("cli_transfer_test.", getpid());
    fs::create_directories(folder_ / "documents");
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Write(const std::string& name, const std::string& contents) const {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
    return Path(name);
  }
  std::string Read(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  // What a query finds, with scores.
  std::string Search(const std::string& collection, const std::string& query, const std::string& mode) const {
    const Finished found =
        RunBlazon({"--json", "index", "search", "--collection", Path(collection), "--mode", mode, query});
    EXPECT_TRUE(found.status == 0 || found.status == 3) << found.errors;
    Json json = Json::parse(found.output);
    json.erase("timings");
    for (Json& result : json["results"]) result.erase("chunkId");
    return json.dump();
  }
  Finished Import(const std::string& collection, const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = {"index", "import", "--collection", Path(collection)};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return RunBlazon(all);
  }

  fs::path folder_;
};

// Debian's Python, which has numpy (setup/apt-packages.txt). True when the script ends with 0.
bool Numpy(const std::string& script) {
  return std::system(absl::StrCat("/usr/bin/python3 -B -c \"import numpy; ", script, "\"").c_str()) == 0;
}

TEST_F(CliTransferTest, ExportedCollectionIsImportedAsItWas) {
  Write("documents/garden.md",
        "# Garden\n\nThe blue gate is locked at nine.\n\n## Watering\n\nTomatoes are watered every second day.\n");
  Write("documents/boat.txt", "The boat weighs 120 kilograms. Its sail \"Möwe\" was sewn by Mara Lindt in 1988.\n");
  Write("documents/long.txt", [] {
    std::string text;
    for (int i = 0; i < 120; ++i) absl::StrAppend(&text, "Sentence ", i, " tells of a harbour with ", i, " ships. ");
    return text;
  }());
  Finished run = RunBlazon({"index", "add", "--language", "en", "--collection", Path("notes"), Path("documents")});
  ASSERT_EQ(run.status, 0) << run.errors;
  run = RunBlazon({"--json", "index", "export", "--collection", Path("notes"), "--to", Path("export")});
  ASSERT_EQ(run.status, 0) << run.errors;
  const Json totals = Json::parse(run.output);
  EXPECT_EQ(totals["documents"], 3);
  ASSERT_GT(totals["chunks"], 6);
  EXPECT_EQ(totals["dimension"], 384);
  EXPECT_TRUE(Numpy(absl::StrCat("a = numpy.load('", Path("export/vectors.npy"),
                                 "'); assert a.dtype == numpy.float32 and a.shape == (", totals["chunks"].get<int>(),
                                 ", 384) and a.flags.c_contiguous; assert abs((a * a).sum(1) - 1).max() < 1e-5")));
  // Each line is a document whose chunks are spans of its text.
  const std::vector<std::string> lines = absl::StrSplit(Read("export/documents.jsonl"), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  const Json boat = Json::parse(lines[0]);
  EXPECT_EQ(boat["path"], "boat.txt");
  EXPECT_EQ(boat["language"], "en");
  EXPECT_EQ(boat["chunks"][0]["end"], boat["text"].get<std::string>().size() - 1);  // but for the last line break

  run = Import("again", {Path("export")});
  ASSERT_EQ(run.status, 0) << run.errors;
  EXPECT_EQ(run.output, "3 added, 0 replaced, 0 unchanged\n");
  for (const auto& [query, mode] : std::vector<std::pair<const char*, const char*>>{
           {"When are tomatoes watered?", "both"}, {"Möwe", "words"}, {"a harbour with 77 ships", "meaning"}})
    EXPECT_EQ(Search("again", query, mode), Search("notes", query, mode)) << query << ", " << mode;
  EXPECT_EQ(RunBlazon({"index", "verify", "--collection", Path("again")}).status, 0);
  // Nothing to be done again: neither by import, nor by add of the same files.
  EXPECT_EQ(Import("again", {Path("export")}).output, "0 added, 0 replaced, 3 unchanged\n");
  EXPECT_EQ(RunBlazon({"index", "add", "--collection", Path("again"), Path("documents")}).output,
            "0 added, 0 replaced, 3 unchanged\n");
  // And out again, byte for byte.
  ASSERT_EQ(RunBlazon({"index", "export", "--collection", Path("again"), "--to", Path("export2")}).status, 0);
  for (const char* file : {"documents.jsonl", "vectors.npy", "collection.json"})
    EXPECT_TRUE(Read(absl::StrCat("export/", file)) == Read(absl::StrCat("export2/", file))) << file;
  run = RunBlazon({"index", "export", "--collection", Path("again"), "--to", Path("export2")});
  EXPECT_EQ(run.status, 1);
  EXPECT_TRUE(absl::StrContains(run.errors, "is there already")) << run.errors;
  // Without its vectors it is embedded here, to the same results.
  ASSERT_EQ(Import("embedded", {Path("export"), "--without-vectors"}).status, 0);
  EXPECT_EQ(Search("embedded", "Möwe", "words"), Search("notes", "Möwe", "words"));
}

TEST_F(CliTransferTest, ChunksAndVectorsOfOnesOwn) {
  const std::string documents = Write(
      "own.jsonl",
      R"({"path": "tea", "text": "Tea is steeped. Bees fly far.", "metadata": {"lang": "en"}, "chunks": [{"begin": 0, "end": 15}, {"begin": 16, "end": 29, "headings": "Animals", "place": "page=4"}]})"
      "\n\n"
      R"({"_id": "ferry", "title": "Harbour", "text": "The ferry leaves at noon.", "chunks": [{"begin": 0, "end": 25}]})"
      "\n");
  ASSERT_TRUE(Numpy(absl::StrCat("numpy.save('", Path("own.npy"),
                                 "', numpy.array([[1, 0, 0], [0, 2, 0], [0, 0, 9]], numpy.float32))")));
  // Chunks alone: embedded here.
  ASSERT_EQ(Import("mine", {documents}).output, "2 added, 0 replaced, 0 unchanged\n");
  const Json found = Json::parse(Search("mine", "insects that fly", "meaning"));
  EXPECT_EQ(found["results"][0]["text"], "Bees fly far.");
  EXPECT_EQ(found["results"][0]["place"], "page=4");
  // With vectors of another embedder: by words here, by meaning for whoever has the question's vector.
  Finished run = Import("theirs", {documents, "--vectors", Path("own.npy")});
  EXPECT_TRUE(absl::StrContains(run.errors, "nothing says which embedder they come from")) << run.errors;
  run = Import("theirs", {documents, "--vectors", Path("own.npy"), "--embedder", "three-axes"});
  ASSERT_EQ(run.status, 0) << run.errors;
  EXPECT_TRUE(absl::StrContains(RunBlazon({"index", "stats", "--collection", Path("theirs")}).output,
                                "embedder given:three-axes"));
  EXPECT_EQ(Json::parse(Search("theirs", "ferry", "words"))["results"][0]["title"], "Harbour");
  run = RunBlazon({"index", "search", "--collection", Path("theirs"), "ferry"});
  EXPECT_EQ(run.status, 1) << run.errors;
  EXPECT_TRUE(absl::StrContains(run.errors, "given:three-axes")) << run.errors;
  run = RunBlazon({"ask", "--collection", Path("theirs"), "When does the ferry leave?"});
  EXPECT_EQ(run.status, 1);
  EXPECT_TRUE(absl::StrContains(run.errors, "import --without-vectors")) << run.errors;
  const std::string flat =
      Write("flat.jsonl", R"({"path": "x", "text": "ab", "chunks": [{"begin": 0, "end": 2, "vector": [1, 2]}]})");
  run = Import("theirs", {flat, "--embedder", "three-axes"});
  EXPECT_TRUE(absl::StrContains(run.errors, "flat.jsonl:1: document x: its vectors have 2 dimensions")) << run.errors;
  run = Import("theirs", {flat, "--embedder", "two-axes"});
  EXPECT_TRUE(absl::StrContains(run.errors, "they cannot be compared")) << run.errors;
  run = RunBlazon({"index", "add", "--collection", Path("theirs"), documents});
  EXPECT_TRUE(absl::StrContains(run.errors, "which only callers have")) << run.errors;
}

TEST_F(CliTransferTest, MetadataIsPutOnEveryDocument) {
  Write("documents/boat.txt", "The boat weighs 120 kilograms.\n");
  const auto add = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {"index", "add", "--collection", Path("notes")};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return RunBlazon(all);
  };
  EXPECT_EQ(add({Path("documents"), "--metadata", "team=sea", "--metadata", "year=2024"}).output,
            "1 added, 0 replaced, 0 unchanged\n");
  EXPECT_EQ(add({Path("documents"), "--metadata", "team=sea"}).output, "0 added, 0 replaced, 1 unchanged\n");
  const auto found = [&](const std::string& condition) {
    return RunBlazon({"index", "search", "--collection", Path("notes"), "--filter", condition, "boat"}).status;
  };
  EXPECT_EQ(found("team == \"sea\" and year == 2024"), 0);
  EXPECT_EQ(add({Path("documents"), "--metadata", "team=land"}).output, "0 added, 1 replaced, 0 unchanged\n");
  EXPECT_EQ(found("team == \"sea\""), 3);
  EXPECT_EQ(add({Path("documents"), "--metadata", "team"}).status, 2);
  // Folders of one name share a source: that is said, and a file that finds its document taken is named.
  fs::create_directories(folder_ / "b" / "documents");
  Write("b/documents/boat.txt", "Another boat.\n");
  const Finished both = add({Path("documents"), Path("b/documents")});
  EXPECT_TRUE(absl::StrContains(both.errors, "are both called 'documents'")) << both.errors;
  EXPECT_TRUE(absl::StrContains(both.errors, "add it under another --source")) << both.errors;
  EXPECT_EQ(both.status, 1);
}

TEST_F(CliTransferTest, ImportsGoOnFromWhereTheyEnded) {
  const auto line = [](const std::string& path, const std::string& vector) {
    return absl::StrCat(R"({"path": ")", path, R"(", "text": "Bees fly far.", "chunks": [{"begin": 0, "end": 13, )",
                        R"("vector": )", vector, "}]}\n");
  };
  Finished run =
      Import("some", {Write("some.jsonl", line("a", "[1, 0]") + line("b", "[0, 0]")), "--embedder", "two-axes"});
  EXPECT_EQ(run.status, 1);
  EXPECT_TRUE(absl::StrContains(run.errors, "some.jsonl:2: document b: chunk 0 has a vector of zeros")) << run.errors;
  run = Import("some", {Write("some.jsonl", line("a", "[1, 0]") + line("b", "[0, 1]")), "--embedder", "two-axes"});
  EXPECT_EQ(run.output, "1 added, 0 replaced, 1 unchanged\n") << run.errors;
}

TEST_F(CliTransferTest, ALanguageIsGivenToEveryDocument) {
  Write("documents/stadt.txt", "Die H\xc3\xa4user der Stadt.\n");
  const auto add = [&](const std::string& language) {
    return RunBlazon({"index", "sync", "--collection", Path("notes"), "--language", language, Path("documents")});
  };
  const auto finds = [&](const std::string& word) {
    return RunBlazon({"index", "search", "--mode", "words", "--collection", Path("notes"), word}).status == 0;
  };
  EXPECT_EQ(add("en").output, "1 added, 0 replaced, 0 unchanged\n");
  EXPECT_FALSE(finds("Haus"));
  EXPECT_EQ(add("de").output, "0 added, 1 replaced, 0 unchanged\n");
  EXPECT_TRUE(finds("Haus"));
  EXPECT_EQ(add("de").output, "0 added, 0 replaced, 1 unchanged\n");
  const Finished wrong = add("german");
  EXPECT_EQ(wrong.status, 2);
  EXPECT_TRUE(absl::StrContains(wrong.errors, "language 'german' is not known")) << wrong.errors;
  EXPECT_TRUE(absl::StrContains(wrong.errors, " da de el ")) << wrong.errors;
}

TEST_F(CliTransferTest, WhatCannotBeImportedIsNamed) {
  int collections = 0;
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& what) {
    const Finished run = Import(absl::StrCat("none", ++collections), arguments);
    EXPECT_NE(run.status, 0) << what;
    EXPECT_TRUE(absl::StrContains(run.errors, what)) << run.errors << "\nlacks: " << what;
  };
  const std::string good = R"({"path": "a", "text": "Bees fly far.", "chunks": [{"begin": 0, "end": 13}]})";
  const auto file = [&](const std::string& line) { return Write("bad.jsonl", absl::StrCat(good, "\n", line, "\n")); };
  refused({file("{")}, "bad.jsonl:2: it is not JSON");
  refused({file(good)}, "bad.jsonl:2: document a stands in line 1 already");
  refused({file(R"({"path": "b", "text": "b", "language": "xq"})")}, ":2: language 'xq' is not known");
  refused({file("[1]")}, ":2: it is not a JSON object");
  refused({file(R"({"path": "b"})")}, ":2: \"text\" is missing");
  refused({file(R"({"text": "b"})")}, "one of \"path\" and \"_id\"");
  refused({file(R"({"path": "b", "text": "b", "url": "x"})")}, "\"url\" is not a key that is known here");
  refused({file(R"({"path": "b", "text": "b", "metadata": {"n": 1}})")}, "metadata \"n\" is not a string");
  refused({file(R"({"path": "b", "text": "b", "chunks": [{"begin": -1, "end": 1}]})")}, "not a whole number from 0");
  refused({file(R"({"path": "b", "text": "b", "chunks": [{"begin": 0, "end": 2}]})")}, "the text that was read has 1");
  refused(
      {file(
          R"({"path": "b", "text": "bb", "chunks": [{"begin": 0, "end": 1, "vector": [1]}, {"begin": 1, "end": 2}]})")},
      "all have one of the same dimension, or none has");
  refused({Path("missing.jsonl")}, "cannot read");
  refused({Path("documents")}, "not an export");
  const std::string documents = Write("good.jsonl", good + "\n");
  ASSERT_TRUE(Numpy(absl::StrCat(
      "f = numpy.float32; [numpy.save('", Path("v"), "' + str(i), a) for i, a in enumerate([numpy.ones((2, 3), f), ",
      "numpy.ones((1, 3)), numpy.ones(3, f), numpy.ones((3, 2), f, order='F'), numpy.zeros((1, 3), f), ",
      "numpy.full((1, 3), numpy.nan, f), numpy.ones((1, 3), f)])]")));
  const auto vectors = [&](int number) {
    return std::vector<std::string>{documents, "--vectors", Path(absl::StrCat("v", number, ".npy")), "--embedder",
                                    "mine"};
  };
  refused(vectors(0), "has 1 chunks, and");
  refused(vectors(1), "numbers of type '<f8'");
  refused(vectors(2), "has the shape (3,)");
  refused(vectors(3), "Fortran order");
  refused(vectors(4), "good.jsonl:1: document a: chunk 0 has a vector of zeros");
  refused(vectors(5), "good.jsonl:1: document a: chunk 0 has a vector with a number that is not finite");
  fs::resize_file(Path("v6.npy"), fs::file_size(Path("v6.npy")) - 4);
  refused(vectors(6), "has 8 bytes of numbers, and not 12");
  Write("v6.npy", "no numbers");
  refused(vectors(6), "is not a .npy file");
  const Finished remote =
      RunBlazon({"--server", "127.0.0.1:1", "index", "export", "--collection", "x", "--to", Path("y")});
  EXPECT_EQ(remote.status, 2);
  EXPECT_TRUE(absl::StrContains(remote.errors, "a server does not do this")) << remote.errors;
}

}  // namespace
}  // namespace blazon::service
