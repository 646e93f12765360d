// Each command of build/blazon on real weights: its JSON parses and holds what it should, text is what JSON says, and
// wrong use ends with the right status and a message that names what is wrong.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection.h"
#include "tests/service/child_process.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kSource = BLAZON_SOURCE_DIR;

class CliTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("cli_test.", getpid());
    fs::create_directories(folder_ / "documents");
    Write("documents/garden.md",
          "# Garden\n\nThe blue gate is locked at nine in the evening.\n\nTomatoes are watered every second day.\n");
    Write("documents/boat.txt", "The boat weighs 120 kilograms. Its sail was sewn by Mara Lindt in 1988.\n");
    Write("documents/picture.xyz", "not a document");
    const Finished added = RunBlazon({"index", "add", "--collection", Path("notes"), Path("documents")});
    ASSERT_EQ(added.status, 0) << added.errors;
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  static std::string Path(const std::string& name) { return (folder_ / name).string(); }
  static std::string Write(const std::string& name, const std::string& contents) {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
    return Path(name);
  }
  // The only line of a run that must succeed.
  static Json Line(const Finished& run, int status = 0) {
    EXPECT_EQ(run.status, status) << run.errors;
    EXPECT_EQ(std::count(run.output.begin(), run.output.end(), '\n'), 1) << run.output;
    Json json = Json::parse(run.output, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << run.output;
    return json;
  }
  static std::string Photo() {
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(kSource) / "assets/photos")) {
      if (entry.path().extension() == ".jpg") return entry.path().string();
    }
    return "";
  }

  static fs::path folder_;
};
fs::path CliTest::folder_;

TEST_F(CliTest, Generate) {
  const std::vector<std::string> command = {"generate",         "--json", "--temperature",           "0",
                                            "--max-new-tokens", "8",      "The capital of France is"};
  const Json json = Line(RunBlazon(command));
  EXPECT_TRUE(absl::StrContains(json["text"].get<std::string>(), "Paris")) << json;
  EXPECT_EQ(json["finish_reason"], "FINISH_REASON_LENGTH");
  EXPECT_EQ(json["usage"]["output_tokens"], 8);
  EXPECT_GT(json["usage"]["prompt_tokens"], 0);
  EXPECT_LT(json["mean_logprob"], 0);
  EXPECT_FALSE(json["model"]["digest"].get<std::string>().empty());
  EXPECT_TRUE(json.contains("seed") && json["timings"].contains("prefill_ms"));
  const Finished text =
      RunBlazon({"generate", "--temperature", "0", "--max-new-tokens", "8", "-"}, "The capital of France is\n");
  EXPECT_EQ(text.output, json["text"].get<std::string>() + "\n") << text.errors;
}

TEST_F(CliTest, GenerateSameSeedSameText) {
  const auto run = [](const char* seed) {
    return Line(RunBlazon(
        {"generate", "--json", "--seed", seed, "--temperature", "1", "--max-new-tokens", "12", "Dear diary,"}))["text"]
        .get<std::string>();
  };
  const std::string first = run("7");
  EXPECT_EQ(first, run("7"));
  EXPECT_NE(first, run("8"));
}

TEST_F(CliTest, GenerateSeveralSearchAndEcho) {
  const std::vector<std::string> search = {"generate",         "--num-beams", "3",      "--num-sequences", "2",
                                           "--max-new-tokens", "6",           "--echo", "The sea was"};
  std::vector<std::string> with_json = search;
  with_json.push_back("--json");
  const Json json = Line(RunBlazon(with_json));
  ASSERT_EQ(json["sequences"].size(), 2u) << json;
  EXPECT_EQ(json["text"], json["sequences"][0]["text"]);
  EXPECT_GE(json["sequences"][0]["score"], json["sequences"][1]["score"]);
  EXPECT_EQ(json["prompt_text"], "The sea was");
  const Finished text = RunBlazon(search);
  EXPECT_TRUE(absl::StrContains(text.output, "=== 1 of 2, score -")) << text.output << text.errors;
  EXPECT_TRUE(absl::StrContains(text.output,
                                absl::StrCat("\nThe sea was", json["sequences"][1]["text"].get<std::string>(), "\n")))
      << text.output;

  // Token ids in every spelling, the text as before.
  const Json tokens = Line(RunBlazon({"tokenize", "--json", "The sea was"}))["tokens"];
  std::string spaces, list;
  for (const Json& token : tokens) {
    absl::StrAppend(&spaces, spaces.empty() ? "" : " ", token["id"].get<int>());
    absl::StrAppend(&list, list.empty() ? "[" : ", ", token["id"].get<int>());
  }
  list += "]";
  const std::string plain = RunBlazon({"generate", "--max-new-tokens", "6", "The sea was"}).output;
  EXPECT_EQ(RunBlazon({"generate", "--max-new-tokens", "6", "--token-ids", spaces}).output, plain);
  EXPECT_EQ(RunBlazon({"generate", "--max-new-tokens", "6", "--token-ids", "-"}, list).output, plain);
  const auto score = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"score", "--json"});
    return Line(RunBlazon(arguments))["logprob"].get<double>();
  };
  EXPECT_EQ(score({"--completion", "The sea was"}), score({"--token-ids", "--completion", list}));
}

TEST_F(CliTest, GenerateChat) {
  const Json json =
      Line(RunBlazon({"generate", "--json", "--chat", "--max-new-tokens", "32", "What is the capital of France?"}));
  EXPECT_TRUE(absl::StrContains(json["text"].get<std::string>(), "Paris")) << json;
}

// A model that goes on as its prompt began: it thinks, then answers.
TEST_F(CliTest, ReasoningIsShownHiddenOrAlone) {
  const auto generate = [](std::vector<std::string> options, const std::string& question) {
    std::vector<std::string> command = {"generate", "--max-new-tokens", "40", "--stop", "\n\nQuestion"};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(
        absl::StrCat("Question: 2 + 2?\nReply: <think>\n2 and 2 make 4.\n</think>\n\nIt is 4.\n\n"
                     "Question: 3 + 5?\nReply: <think>\n3 and 5 make 8.\n</think>\n\nIt is 8.\n\nQuestion: ",
                     question));
    return RunBlazon(command);
  };
  const std::string question = "1 + 6?\nReply:", whole = "<think>\n1 and 6 make 7.\n</think>\n\nIt is 7.\n";
  EXPECT_EQ(generate({"--reasoning", "show"}, question).output, whole);
  EXPECT_EQ(generate({"--reasoning", "only"}, absl::StrCat(question, " <think>\n")).output, "1 and 6 make 7.\n");
  EXPECT_EQ(generate({"--reasoning", "sometimes"}, question).status, 2);
  EXPECT_EQ(generate({"--reasoning", "hide", "--attention", Path("seen.svg")}, question).status, 2);

  // A conversation keeps the answer alone.
  const std::string session = Write("reasoned.json", R"({"messages": [
    {"role": "ROLE_USER", "parts": [{"text": "2 + 2?"}]},
    {"role": "ROLE_ASSISTANT", "parts": [{"text": "<think>\n2 and 2 make 4.\n</think>\n\nIt is 4."}]},
    {"role": "ROLE_USER", "parts": [{"text": "3 + 5?"}]},
    {"role": "ROLE_ASSISTANT", "parts": [{"text": "<think>\n3 and 5 make 8.\n</think>\n\nIt is 8."}]}]})");
  const std::string before = Write("before.json", "");
  const auto chat = [&](std::vector<std::string> options) {
    fs::copy_file(session, before, fs::copy_options::overwrite_existing);
    options.insert(options.begin(), {"chat", "--max-new-tokens", "40", "--session", before});
    const Finished run = RunBlazon(options, "1 + 6?\n");
    std::ifstream stream(before);
    const Json after = Json::parse(stream);
    EXPECT_EQ(after["messages"].size(), 6u) << run.errors;
    EXPECT_EQ(after["messages"].back()["parts"][0]["text"], "It is 7.");
    return run.output;
  };
  EXPECT_EQ(chat({}), whole);
  EXPECT_EQ(chat({"--reasoning", "hide"}), "It is 7.\n");
}

TEST_F(CliTest, ChatKeepsItsConversation) {
  const std::string session = Path("talk.json");
  const std::vector<std::string> chat = {"chat", "--json", "--max-new-tokens", "24", "--session", session};
  const Finished first = RunBlazon(chat, "What is the capital of France?\n/help\n\n/quit\nnever read\n");
  EXPECT_EQ(first.status, 0) << first.errors;
  EXPECT_TRUE(absl::StrContains(Line(first)["text"].get<std::string>(), "Paris")) << first.output;
  EXPECT_TRUE(absl::StrContains(first.errors, "/image FILE"));
  const Json kept = Json::parse(std::ifstream(session));
  ASSERT_EQ(kept["messages"].size(), 2u) << kept;
  EXPECT_EQ(kept["messages"][0]["role"], "ROLE_USER");

  const Finished second = RunBlazon(chat, "And of Italy?\n/no-such-thing\n");
  EXPECT_EQ(second.status, 1) << "a script must learn of the unknown command";
  EXPECT_TRUE(absl::StrContains(second.errors, "going on with 2 messages"));
  EXPECT_TRUE(absl::StrContains(second.errors, "/no-such-thing is no command here"));
  EXPECT_EQ(Json::parse(std::ifstream(session))["messages"].size(), 4u);
  const Json json = Json::parse(second.output);
  EXPECT_GT(json["usage"]["prompt_tokens"], Line(first)["usage"]["prompt_tokens"]) << "the conversation is read again";

  EXPECT_EQ(RunBlazon({"chat", "--session", Write("broken.json", "no JSON")}, "Hello\n").status, 1);
}

// The model may end its turn at once; the conversation goes on from there.
TEST_F(CliTest, ChatGoesOnAfterATurnWithoutWords) {
  const Json messages = {{{"role", "ROLE_USER"}, {"parts", {{{"text", "Say nothing."}}}}},
                         {{"role", "ROLE_ASSISTANT"}, {"parts", {{{"text", ""}}}}}};
  const std::string session = Write("silent.json", Json({{"messages", messages}}).dump());
  const Finished run =
      RunBlazon({"chat", "--json", "--max-new-tokens", "24", "--session", session}, "What is the capital of France?\n");
  EXPECT_EQ(run.status, 0) << run.errors;
  EXPECT_TRUE(absl::StrContains(Line(run)["text"].get<std::string>(), "Paris")) << run.output;
  EXPECT_EQ(Json::parse(std::ifstream(session))["messages"].size(), 4u);
}

TEST_F(CliTest, ChatLeavesOutTheOldestTurns) {
  std::string words;
  for (int i = 0; i < 1500; ++i) words += "one two ";
  Json messages = Json::array();
  for (const char* role :
       {"ROLE_SYSTEM", "ROLE_USER", "ROLE_ASSISTANT", "ROLE_USER", "ROLE_ASSISTANT", "ROLE_USER", "ROLE_ASSISTANT"}) {
    messages.push_back(
        {{"role", role}, {"parts", {{{"text", role == std::string("ROLE_SYSTEM") ? "Be brief." : words}}}}});
  }
  const std::string session = Write("long.json", Json({{"messages", messages}}).dump());
  const Finished run =
      RunBlazon({"chat", "--json", "--max-new-tokens", "4", "--session", session}, "What is two and two?\n");
  EXPECT_EQ(run.status, 0) << run.errors;
  EXPECT_TRUE(absl::StrContains(run.errors, "the oldest 4 messages no longer fit the context of 8192 tokens"))
      << run.errors;
  EXPECT_EQ(Json::parse(std::ifstream(session))["messages"].size(), 9u) << "the file keeps them";
}

TEST_F(CliTest, ChatAnswersFromDocuments) {
  const Finished run = RunBlazon({"chat", "--collection", Path("notes")}, "When is the blue gate locked?\n");
  EXPECT_EQ(run.status, 0) << run.errors;
  EXPECT_TRUE(absl::StrContains(run.output, "garden.md:3  The blue gate is locked at nine")) << run.output;
}

TEST_F(CliTest, QuestionsGoOnFromEarlierOnes) {
  const std::vector<std::string> ask = {"ask",         "--json",    "--extractive",    "--collection",
                                        Path("notes"), "--session", Path("asked.json")};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), ask.begin(), ask.end());
    return more;
  };
  EXPECT_EQ(Line(RunBlazon(with({"How much does the boat weigh?"})))["asked"], "How much does the boat weigh?");
  const Finished second = RunBlazon(with({"And who sewed its sail?"}));
  const Json completed = Line(second);
  EXPECT_EQ(completed["asked"], "who sewed the boat's sail?");
  EXPECT_EQ(completed["sentences"][0]["text"], "Its sail was sewn by Mara Lindt in 1988.");
  EXPECT_TRUE(absl::StrContains(second.errors, "(looking for: who sewed the boat's sail?)\n")) << second.errors;
  EXPECT_EQ(Json::parse(std::ifstream(Path("asked.json")))["messages"].size(), 4u);
  const Finished as_it_is = RunBlazon(with({"--no-rewrite", "And what of it?"}));
  EXPECT_EQ(Json::parse(as_it_is.output)["asked"], "And what of it?");

  const Finished chat =
      RunBlazon({"chat", "--collection", Path("notes")}, "How much does the boat weigh?\nAnd who sewed its sail?\n");
  EXPECT_EQ(chat.status, 0) << chat.errors;
  EXPECT_TRUE(absl::StrContains(chat.output, "boat.txt:1  Its sail was sewn by Mara Lindt in 1988.")) << chat.output;
}

// Pictures are captioned when they are indexed; a question finds one by what it shows, and may bring one itself.
TEST_F(CliTest, QuestionsOverPictures) {
  const std::string photos = kSource + "/assets/photos/";
  ASSERT_EQ(RunBlazon({"index", "add", "--collection", Path("pictures"), photos + "cat.jpg", photos + "coffee.jpg",
                       photos + "temple.jpg"})
                .status,
            0);
  const Json found =
      Line(RunBlazon({"ask", "--json", "--extractive", "--collection", Path("pictures"), "Which photo shows a cat?"}));
  ASSERT_GT(found["sources"].size(), 0u) << found;
  EXPECT_EQ(found["sources"][0]["path"], "cat.jpg") << found;
  EXPECT_EQ(found["support"][0]["citations"][0]["path"], "cat.jpg");
  const Json shown = Line(RunBlazon({"ask", "--json", "--extractive", "--collection", Path("pictures"), "--image",
                                     photos + "coffee.jpg", "Which photo shows the same drink?"}));
  ASSERT_GT(shown["sources"].size(), 0u) << shown;
  EXPECT_EQ(shown["sources"][0]["path"], "coffee.jpg") << shown;
  EXPECT_EQ(shown["image_captions"].size(), 1u);
}

TEST_F(CliTest, InspectSaysWhatACheckpointIs) {
  const std::string gguf = kSource + "/models/smollm2-135m-instruct";
  const Json json = Line(RunBlazon({"models", "inspect", "--json", gguf}));
  EXPECT_EQ(json["runs"], true) << json;
  EXPECT_EQ(json["model_type"], "llama");
  EXPECT_EQ(json["parameters"], 134515008);
  EXPECT_EQ(json["context_length"], 8192);
  EXPECT_EQ(json["memory"][1], Json({{"dtype", "fp32"}, {"weight_bytes", 538060032}, {"bytes_per_token", 46080}}));
  const Finished text = RunBlazon({"models", "inspect", gguf});
  EXPECT_TRUE(absl::StrContains(text.output, "134.5 million in 272 tensors")) << text.output;

  fs::create_directories(folder_ / "mamba");
  Write("mamba/config.json", R"({"model_type": "mamba"})");
  fs::copy_file(kSource + "/tests/goldens/small_llama.safetensors", folder_ / "mamba/model.safetensors");
  const Json unknown = Line(RunBlazon({"models", "inspect", "--json", Path("mamba")}), 1);
  EXPECT_EQ(unknown["runs"], false);
  EXPECT_TRUE(absl::StrContains(unknown["problem"].get<std::string>(), "model_type is \"mamba\"")) << unknown;
  EXPECT_EQ(RunBlazon({"models", "inspect", Path("nowhere")}).status, 1);
  EXPECT_EQ(Line(RunBlazon({"models", "--json"}))["models"].size(), 3u);
}

TEST_F(CliTest, TokenizeAndBack) {
  const Json json = Line(RunBlazon({"tokenize", "--json", "Hello, <|im_end|> world 42"}));
  std::string joined;
  std::vector<std::string> decode = {"tokenize", "--decode"};
  for (const Json& token : json["tokens"]) {
    joined += token["text"].get<std::string>();
    decode.push_back(std::to_string(token["id"].get<int>()));
  }
  EXPECT_EQ(joined, "Hello, <|im_end|> world 42");
  EXPECT_EQ(RunBlazon(decode).output, "Hello, <|im_end|> world 42\n");
}

TEST_F(CliTest, Score) {
  const auto score = [](const char* completion) {
    return Line(RunBlazon({"score", "--json", "--prompt", "The capital of France is", "--completion", completion}));
  };
  const Json paris = score(" Paris"), potato = score(" potato");
  EXPECT_GT(paris["logprob"], potato["logprob"]);
  double total = 0;
  for (const Json& token : paris["tokens"]) total += token["logprob"].get<double>();
  EXPECT_NEAR(paris["logprob"].get<double>(), total, 1e-6);
  EXPECT_FALSE(paris["tokens"].empty());
}

TEST_F(CliTest, EvalCaptions) {
  const std::string said = Write("said.jsonl", R"({"file": "x/cat.jpg", "text": "A cat."})"),
                    written = Write("written.jsonl", R"({"id": "cat.jpg", "captions": ["a cat", "some cat"]}
{"id": "dog.jpg", "captions": ["a dog"]})");
  const Json scores =
      Line(RunBlazon({"eval", "captions", "--json", "--partial", "--candidates", said, "--references", written}));
  EXPECT_EQ(scores["pictures"], 1);
  EXPECT_EQ(scores["left_out"], 1);
  EXPECT_EQ(scores["exact_match"], 1.0);
  const Finished all = RunBlazon({"eval", "captions", "--candidates", said, "--references", written});
  EXPECT_EQ(all.status, 1);
  EXPECT_TRUE(absl::StrContains(all.errors, "'dog.jpg'") && absl::StrContains(all.errors, "--partial")) << all.errors;
}

TEST_F(CliTest, EvalLanguageModel) {
  const std::string words = "The capital of France is Paris, and the capital of Italy is Rome.";
  const std::string text = Write("text.txt", words);
  const auto eval = [&](std::vector<std::string> more) {
    std::vector<std::string> command = {"eval", "lm", "--json", text};
    command.insert(command.end(), more.begin(), more.end());
    return Line(RunBlazon(command));
  };
  // In one window it says what score says.
  const Json whole = eval({});
  const Json score = Line(RunBlazon({"score", "--json", "--completion", words}));
  EXPECT_EQ(whole["windows"], 1);
  EXPECT_EQ(whole["scored"].get<size_t>(), score["tokens"].size());
  EXPECT_NEAR(whole["loss"].get<double>(), -score["mean_logprob"].get<double>(), 1e-5);
  EXPECT_NEAR(whole["perplexity"].get<double>(), std::exp(whole["loss"].get<double>()), 1e-6);
  // Windows score each token once, and see less.
  const Json narrow = eval({"--context", "5", "--stride", "2"});
  EXPECT_GT(narrow["windows"], 3);
  EXPECT_EQ(narrow["scored"], whole["scored"]);
  EXPECT_GT(narrow["loss"], whole["loss"]);
  const Finished wrong = RunBlazon({"eval", "lm", "--context", "5", "--stride", "5", text});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_TRUE(absl::StrContains(wrong.errors, "--stride is 5")) << wrong.errors;
}

TEST_F(CliTest, ExplainShowsEachRule) {
  const Finished shown = RunBlazon({"generate", "--explain=3", "--max-new-tokens", "2", "--temperature", "1", "--top-k",
                                    "2", "--seed", "1", "The capital of France is"});
  EXPECT_EQ(shown.status, 0) << shown.errors;
  for (const char* part : {"step 1", "step 2", "model", "temperature", "top_k", "* ", "candidates"})
    EXPECT_TRUE(absl::StrContains(shown.output, part)) << part << " in\n" << shown.output;
}

TEST_F(CliTest, Embed) {
  const Json json =
      Line(RunBlazon({"embed", "--json", "a cat on a mat", "-"}, "a kitten lies on the rug\nstock prices fell\n"));
  EXPECT_EQ(json["dimension"], 384);
  ASSERT_EQ(json["embeddings"].size(), 3u);
  const auto cosine = [&](int a, int b) {
    double sum = 0;
    for (int i = 0; i < 384; ++i)
      sum += json["embeddings"][a]["values"][i].get<double>() * json["embeddings"][b]["values"][i].get<double>();
    return sum;
  };
  EXPECT_NEAR(cosine(0, 0), 1, 1e-4);
  EXPECT_GT(cosine(0, 1), cosine(0, 2) + 0.2);
}

TEST_F(CliTest, Models) {
  const Json json = Line(RunBlazon({"models", "--json"}));
  ASSERT_EQ(json["models"].size(), 3u);
  EXPECT_EQ(json["models"][2]["kind"], "MODEL_KIND_LANGUAGE");  // smollm2: they are in order of their names
  EXPECT_EQ(json["models"][2]["state"], "MODEL_STATE_AVAILABLE");
}

TEST_F(CliTest, Caption) {
  const std::string text = Write("not a picture.jpg", "hello");
  const Finished run = RunBlazon({"caption", "--json", Photo(), text, Path("missing.jpg")});
  EXPECT_EQ(run.status, 1);
  const Json json = Line({0, run.output, run.errors});
  EXPECT_EQ(json["file"], Photo());
  EXPECT_FALSE(json["text"].get<std::string>().empty());
  EXPECT_FALSE(json["labels"].empty());
  EXPECT_GT(json["usage"]["image_tokens"], 0);
  EXPECT_GT(json["timings"]["encode_ms"], 0);
  EXPECT_TRUE(absl::StrContains(run.errors, text)) << run.errors;
  EXPECT_TRUE(absl::StrContains(run.errors, "blazon: " + Path("missing.jpg") + ": no such file\n")) << run.errors;
}

// The default captioner answers questions about pictures.
TEST_F(CliTest, CaptionAnswersAQuestion) {
  const std::string photos = kSource + "/assets/photos/";
  const Finished run =
      RunBlazon({"caption", "--prompt", "Is there a cat in the picture?", photos + "cat.jpg", photos + "coffee.jpg"});
  EXPECT_EQ(run.output, photos + "cat.jpg: Yes.\n" + photos + "coffee.jpg: No.\n") << run.errors;
}

TEST_F(CliTest, Ask) {
  const Json json = Line(RunBlazon({"ask", "--json", "--collection", Path("notes"), "How much does the boat weigh?"}));
  EXPECT_TRUE(absl::StrContains(json["text"].get<std::string>(), "120")) << json;
  EXPECT_EQ(json["outcome"], "ANSWER_OUTCOME_ANSWERED");
  EXPECT_EQ(json["sources"][0]["path"], "boat.txt");
  EXPECT_EQ(json["sentences"][0]["text"], "The boat weighs 120 kilograms.");
  EXPECT_TRUE(json.contains("dropped") && json.contains("confidence") && json["timings"].contains("retrieve_ms"));

  ASSERT_EQ(json["support"].size(), 1u) << json;
  EXPECT_EQ(json["support"][0]["supported"], true);
  EXPECT_EQ(json["support"][0]["citations"][0]["text"], "The boat weighs 120 kilograms.");
  EXPECT_EQ(json["support"][0]["citations"][0]["begin_byte"], 0);
  EXPECT_EQ(json["drop_reasons"].size(), json["dropped"].size());

  const Finished text =
      RunBlazon({"ask", "--extractive", "--collection", Path("notes"), "Who sewed the sail of the boat?"});
  EXPECT_EQ(text.status, 0) << text.errors;
  EXPECT_TRUE(absl::StrContains(text.output, "boat.txt:1")) << text.output;
  EXPECT_TRUE(absl::StrContains(text.output, "Its sail was sewn by Mara Lindt in 1988.")) << text.output;
  EXPECT_TRUE(absl::StrContains(text.output, "    1.00 boat.txt:1, bytes 31 to 71\n")) << text.output;

  const Json refused =
      Line(RunBlazon({"ask", "--json", "--collection", Path("notes"), "Which vaccine protects against measles?"}), 3);
  EXPECT_EQ(refused["outcome"], "ANSWER_OUTCOME_NO_ANSWER");
  EXPECT_TRUE(refused["sources"].empty() && !refused["text"].get<std::string>().empty());
}

TEST_F(CliTest, Index) {
  const Finished listed = RunBlazon({"index", "list", "--collection", Path("notes")});
  EXPECT_TRUE(absl::StrContains(listed.output, "documents/boat.txt")) << listed.output;
  const Json again = Line(RunBlazon({"index", "add", "--json", "--collection", Path("notes"), Path("documents")}));
  ASSERT_EQ(again["results"].size(), 2u);
  EXPECT_EQ(again["results"][0]["state"], "PUT_STATE_UNCHANGED");
  const Finished found =
      RunBlazon({"index", "search", "--collection", Path("notes"), "when is the gate locked", "--count", "1"});
  EXPECT_TRUE(std::regex_search(found.output, std::regex("^garden\\.md:[0-9]+: .*blue gate"))) << found.output;
  EXPECT_EQ(RunBlazon({"index", "search", "--collection", Path("notes"), "--mode", "words", "xylophone"}).status, 3);
  EXPECT_EQ(RunBlazon({"index", "verify", "--collection", Path("notes")}).status, 0);
  EXPECT_EQ(Line(RunBlazon({"index", "stats", "--json", "--collection", Path("notes")}))["collection"]["documents"], 2);

  const Finished narrowed = RunBlazon(
      {"index", "list", "--collection", Path("notes"), "--filter", "@path prefix 'boat' and not year exists"});
  EXPECT_EQ(narrowed.status, 0) << narrowed.errors;
  EXPECT_TRUE(absl::StrContains(narrowed.output, "boat.txt") && !absl::StrContains(narrowed.output, "garden"));
  const Json spread =
      Line(RunBlazon({"index", "search", "--json", "--collection", Path("notes"), "the gate", "--filter", "@path > 'c'",
                      "--max-per-document", "1", "--neighbours", "1", "--fusion", "ranks"}));
  ASSERT_EQ(spread["results"].size(), 1u);
  EXPECT_EQ(spread["results"][0]["path"], "garden.md");
  EXPECT_EQ(RunBlazon({"ask", "--extractive", "--collection", Path("notes"), "--filter", "@path == 'garden.md'",
                       "How much does the boat weigh?"})
                .status,
            3);

  const std::string queries = Write("queries.jsonl", R"({"_id": "1", "text": "when is the gate locked"})"
                                                     "\n"
                                                     R"({"_id": "2", "text": "the weight of the boat"})"
                                                     "\n");
  const std::string judged = Write("qrels.tsv", "query-id\tcorpus-id\tscore\n1\tgarden\t1\n2\tboat.txt\t2\n");
  const Json measured = Line(RunBlazon({"index", "eval", "--json", "--collection", Path("notes"), "--queries", queries,
                                        "--qrels", judged, "--run", Path("run.txt")}));
  EXPECT_EQ(measured["ndcg_at_10"], 1) << measured;
  EXPECT_EQ(measured["queries"], 2);
  std::ifstream run(Path("run.txt"));
  std::string first;
  std::getline(run, first);
  EXPECT_TRUE(absl::StartsWith(first, "1 Q0 garden 1 ")) << first;

  // Answers: what is right, what is refused, and a threshold that is kept.
  const std::string asked = Write("asked.tsv",
                                  "id\tquestion\texpected\tdocument\tevidence\n"
                                  "a1\tHow much does the boat weigh?\t120\tboat.txt\tweighs 120\n"
                                  "a2\tWho sewed the sail of the boat?\tLindt\tboat.txt\tsewn by Mara\n"
                                  "o1\tWhich vaccine protects against measles?\t-\t-\t-\n");
  const std::string measured_notes = Path("measured notes");
  ASSERT_EQ(RunBlazon({"index", "add", "--collection", measured_notes, Path("documents")}).status, 0);
  const Json answers = Line(RunBlazon({"index", "eval", "--json", "--collection", measured_notes, "--questions", asked,
                                       "--answers", Path("answers.jsonl"), "--refuse-below", "0"}))["answers"];
  EXPECT_EQ(answers["answerable"], 2);
  EXPECT_EQ(answers["unanswerable"]["o"], 1);
  EXPECT_EQ(answers["given"]["right"], 2) << answers;
  EXPECT_EQ(answers["given"]["cited"], 2) << answers;
  EXPECT_EQ(answers["given"]["refused"], 0);
  EXPECT_EQ(answers["calibrated"]["false_refusals"], 0);
  EXPECT_EQ(answers["calibrated"]["refused_of"]["o"], 1) << answers;
  EXPECT_GT(answers["calibrated"]["threshold"], answers["current"]["threshold"]) << answers;
  EXPECT_EQ(answers["curve"][0], answers["given"]);
  EXPECT_EQ(answers["curve"].size(), 4u);
  EXPECT_GE(answers["citations"], 3);
  EXPECT_EQ(answers["citations_verbatim"], answers["citations"]);
  std::ifstream said(Path("answers.jsonl"));
  int lines = 0;
  for (std::string line; std::getline(said, line); ++lines) EXPECT_TRUE(Json::parse(line).contains("text")) << line;
  EXPECT_EQ(lines, 3);
  const Finished kept = RunBlazon(
      {"index", "eval", "--collection", measured_notes, "--questions", asked, "--keep", "--max-false-refusals", "0.5"});
  EXPECT_EQ(kept.status, 0) << kept.errors;
  EXPECT_TRUE(absl::StrContains(kept.output, "refuse below  right  cited")) << kept.output;
  EXPECT_TRUE(absl::StrContains(kept.output, "Kept with the collection: refuse below 0.")) << kept.output;
  EXPECT_TRUE(absl::StrContains(RunBlazon({"index", "stats", "--collection", measured_notes}).output,
                                "questions are refused below a confidence of 0."));
  EXPECT_EQ(Line(RunBlazon({"ask", "--json", "--collection", measured_notes, "--refuse-below", "1",
                            "How much does the boat weigh?"}),
                 3)["outcome"],
            "ANSWER_OUTCOME_NO_ANSWER");

  const std::string made = Path("made");
  EXPECT_EQ(Line(RunBlazon(
                {"index", "create", "--json", "--collection", made, "--kind", "ivf"}))["collection"]["index"]["kind"],
            "INDEX_KIND_IVF");
  EXPECT_EQ(RunBlazon({"index", "create", "--collection", made}).status, 1);
  EXPECT_EQ(RunBlazon({"index", "add", "--collection", made, Path("documents/boat.txt")}).status, 0);
  const Finished stats = RunBlazon({"index", "stats", "--collection", made});
  EXPECT_TRUE(absl::StrContains(stats.output, "every vector is looked at (index ivf)")) << stats.output;

  const std::string other = Path("other notes");
  ASSERT_EQ(
      RunBlazon({"index", "add", "--collection", other, "--files-from", "-"}, Path("documents/boat.txt") + "\n").status,
      0);
  EXPECT_EQ(Line(RunBlazon({"index", "delete", "--json", "--collection", other, "boat.txt"}))["deleted"], 1);
  EXPECT_EQ(RunBlazon({"index", "delete", "--collection", other, "boat.txt"}).status, 3);
  EXPECT_EQ(RunBlazon({"index", "list", "--collection", other}).status, 3);
}

TEST_F(CliTest, IndexShowsPiecesBeforeTheyAreMade) {
  const std::string text = "# Boats\n\n## Oars\n\nThere are two oars. They are red.\n\n## Sails\n\nOne sail, white.\n";
  const std::string file = Write("fleet.md", text), collection = Path("previewed");
  const Finished shown =
      RunBlazon({"index", "add", "--preview", "--collection", collection, file, Path("documents/picture.xyz")});
  EXPECT_EQ(shown.status, 1);  // one cannot be read
  EXPECT_TRUE(absl::StrContains(shown.output, "--- fleet.md:5  ")) << shown.output;
  EXPECT_TRUE(absl::StrContains(shown.output, "tokens  Oars\nThere are two oars. They are red.\n")) << shown.output;
  EXPECT_TRUE(absl::StrContains(shown.output, "2 pieces")) << shown.output;
  EXPECT_TRUE(absl::StrContains(shown.errors, "picture.xyz")) << shown.errors;
  EXPECT_FALSE(std::filesystem::exists(collection));

  const Finished lines =
      RunBlazon({"index", "add", "--preview", "--chunker", "page", "--json", "--collection", collection, file});
  ASSERT_EQ(lines.status, 0) << lines.errors;
  const Json piece = Json::parse(lines.output);  // all of it is one
  EXPECT_EQ(piece["text"], "Boats\n\nOars\n\nThere are two oars. They are red.\n\nSails\n\nOne sail, white.");
  EXPECT_EQ(RunBlazon({"index", "add", "--chunker", "page", "--collection", collection, file}).status, 0);
  EXPECT_EQ(Line(RunBlazon({"index", "stats", "--json", "--collection", collection}))["collection"]["chunks"], 1);
  EXPECT_EQ(RunBlazon({"index", "add", "--chunker", "whole", "--collection", collection, file}).status, 2);
}

// Text of a document cannot move the cursor, hide what was printed, or turn it around; a file gets the bytes.
TEST_F(CliTest, TextOfDocumentsDoesNotActOnATerminal) {
  const std::string collection = Path("terminal"), shown = "\xc3\xa9 <U+001B>[2J<U+202E>x<U+009B>1A";
  Write("terminal.txt",
        "The mast is \xc3\xa9 \x1b[2J\xe2\x80\xaex\xc2\x9b"
        "1A high.\n");
  ASSERT_EQ(RunBlazon({"index", "add", "--collection", collection, Path("terminal.txt")}).status, 0);
  const std::vector<std::string> command = {"ask",          "--extractive", "--refuse-below",       "0",
                                            "--collection", collection,     "How high is the mast?"};
  EXPECT_TRUE(absl::StrContains(RunBlazon(command).output, "\x1b[2J\xe2\x80\xaex\xc2\x9b"));
  std::string line = BLAZON_PROGRAM;
  for (const std::string& word : command) absl::StrAppend(&line, " '", word, "'");
  FILE* terminal = popen(absl::StrCat("script -qec \"", line, "\" /dev/null 2>/dev/null").c_str(), "r");
  ASSERT_NE(terminal, nullptr);
  std::string output;
  for (int c = fgetc(terminal); c != EOF; c = fgetc(terminal)) output += static_cast<char>(c);
  ASSERT_EQ(pclose(terminal), 0) << output;
  EXPECT_TRUE(absl::StrContains(output, shown)) << testing::PrintToString(output);
  EXPECT_FALSE(absl::StrContains(output, "\x1b[2J")) << testing::PrintToString(output);
}

TEST_F(CliTest, IndexIsSyncedWithAFolder) {
  const std::string place = Path("synced"), docs = Path("synced documents");
  std::filesystem::create_directories(docs + "/drafts");
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(docs + "/" + name) << text;
  };
  write("ferry.txt", "The ferry leaves at nine.");
  write("bakery.md", "The bakery opens at six.");
  write("drafts/plan.txt", "A plan that nobody should read.");
  write("copy of ferry.txt", "The ferry leaves at nine.");
  const std::vector<std::string> options = {"--exclude", "drafts/", "--collection", place, docs};
  const auto sync = [&](std::vector<std::string> first) {
    first.insert(first.begin(), {"index", "sync"});
    first.insert(first.end(), options.begin(), options.end());
    return RunBlazon(first);
  };
  const Finished dry = sync({"--dry-run"});
  EXPECT_EQ(dry.status, 0) << dry.errors;
  EXPECT_EQ(
      dry.output,
      "+ bakery.md\n+ copy of ferry.txt\nNothing was changed. To do: 2 added, 0 replaced, 0 unchanged, 1 duplicates\n");
  EXPECT_EQ(dry.errors, "blazon: ferry.txt is the same as copy of ferry.txt\n");
  EXPECT_FALSE(std::filesystem::exists(place));
  EXPECT_EQ(sync({}).output, "2 added, 0 replaced, 0 unchanged, 1 duplicates\n");

  write("bakery.md", "The bakery opens at seven.");
  std::filesystem::remove(docs + "/copy of ferry.txt");
  const Finished kept = sync({});
  EXPECT_EQ(kept.output,
            "- copy of ferry.txt\n(1 documents have no file any more; --prune removes them)\n1 added, 1 replaced, 0 "
            "unchanged\n");
  write("broken.txt", std::string("\0\1\2", 3));
  const Json json = Line(sync({"--prune", "--json"}), 1);
  EXPECT_EQ(json["pruned"], 1);
  EXPECT_EQ(json["unchanged"], 2);
  EXPECT_EQ(json["changes"][0]["path"], "broken.txt");
  const Finished strict = sync({"--strict"});
  EXPECT_EQ(strict.status, 1);
  EXPECT_TRUE(absl::StrContains(strict.errors, "broken.txt cannot be read")) << strict.errors;
  EXPECT_EQ(RunBlazon({"index", "sync", "--exclude", "", "--collection", place, docs}).status, 1);
}

TEST_F(CliTest, IndexFollowsAFolder) {
  const std::string place = Path("followed"), docs = Path("followed documents");
  std::filesystem::create_directories(docs);
  std::ofstream(docs + "/ferry.txt") << "The ferry leaves at nine.";
  BlazonProcess watch({"index", "watch", "--prune", "--quiet-ms", "50", "--collection", place, docs});
  ASSERT_NE(watch.WaitForErrors("Watching 1 folders", 120), "");
  std::filesystem::create_directories(docs + "/new");
  std::ofstream(docs + "/new/bakery.txt") << "The bakery opens at six.";
  std::ofstream(docs + "/new/copy.txt") << "The bakery opens at six.";
  ASSERT_NE(watch.WaitForErrors("new/copy.txt is the same as new/bakery.txt", 120), "");
  watch.Signal(SIGINT);
  const Finished ended = watch.Wait();
  EXPECT_EQ(ended.status, 130) << ended.errors;
  const Finished found =
      RunBlazon({"index", "search", "--collection", place, "--count", "1", "when does the bakery open"});
  EXPECT_TRUE(absl::StrContains(found.output, "new/bakery.txt:1: ")) << found.output;
}

TEST_F(CliTest, IndexIsVerifiedCopiedRepairedAndRestored) {
  const std::string place = Path("kept notes"), copy = Path("copy of notes"), restored = Path("restored notes");
  ASSERT_EQ(RunBlazon({"index", "add", "--collection", place, Path("documents")}).status, 0);
  EXPECT_EQ(Line(RunBlazon({"index", "snapshot", "--json", "--collection", place, "--to", copy}))["documents"], 2);
  EXPECT_EQ(RunBlazon({"index", "snapshot", "--collection", place, "--to", copy}).status, 1);

  const std::filesystem::path file = std::filesystem::path(place) / "collection.db";
  std::fstream database(file, std::ios::in | std::ios::out | std::ios::binary);
  database.seekg(9000);
  const char byte = static_cast<char>(database.get());
  database.seekp(9000);
  database.put(static_cast<char>(byte ^ 0x5A));
  database.close();
  const Finished verified = RunBlazon({"index", "verify", "--collection", place});
  EXPECT_EQ(verified.status, 1);
  EXPECT_TRUE(absl::StrContains(verified.errors, "page 3 fails its checksum")) << verified.errors;
  const Finished repaired = RunBlazon({"index", "repair", "--collection", place});
  EXPECT_EQ(repaired.status, 0) << repaired.errors;
  EXPECT_TRUE(absl::StrContains(repaired.output, "1 bytes put right")) << repaired.output;
  EXPECT_EQ(RunBlazon({"index", "verify", "--collection", place}).status, 0);

  EXPECT_EQ(RunBlazon({"index", "restore", "--from", copy, "--collection", restored}).status, 0);
  const Finished found =
      RunBlazon({"index", "search", "--collection", restored, "when is the gate locked", "--count", "1"});
  EXPECT_TRUE(std::regex_search(found.output, std::regex("^garden\\.md:[0-9]+: .*blue gate"))) << found.output;
}

TEST_F(CliTest, OptionsFromFileAndEnvironment) {
  const std::string config = Write("blazon.toml", "json = true\n[generate]\nmax-new-tokens = 3\n");
  EXPECT_EQ(Line(RunBlazon({"--config", config, "generate", "One two three"}))["usage"]["output_tokens"], 3);
  setenv("BLAZON_MAX_NEW_TOKENS", "2", 1);
  EXPECT_EQ(Line(RunBlazon({"--json", "generate", "One two three"}))["usage"]["output_tokens"], 2);
  EXPECT_EQ(Line(RunBlazon({"--config", config, "generate", "One two three"}))["usage"]["output_tokens"], 3);
  EXPECT_EQ(Line(RunBlazon(
                {"--config", config, "generate", "--max-new-tokens", "1", "One two three"}))["usage"]["output_tokens"],
            1);
  unsetenv("BLAZON_MAX_NEW_TOKENS");
}

TEST_F(CliTest, InterruptEndsCleanly) {
  const Finished run =
      InterruptBlazon({"generate", "--ignore-eos", "--max-new-tokens", "4000", "Once upon a time"}, SIGINT, 4000);
  EXPECT_EQ(run.status, 130) << run.errors;
  EXPECT_EQ(run.output.back(), '\n');
}

TEST_F(CliTest, TwoWritersAreRefused) {
  retrieval::CollectionOptions options;
  options.mode = retrieval::OpenMode::kWrite;
  options.create = true;
  options.embedder.dimension = 2;
  options.embedder.max_tokens = 8;
  options.embedder.fingerprint = "none";
  options.embedder.count_tokens = [](std::string_view) { return int64_t{1}; };
  options.embedder.embed = [](absl::Span<const std::string> texts) {
    return std::vector<float>(2 * texts.size(), 0.70710678f);
  };
  auto writer = retrieval::Collection::Open(Path("busy"), options);
  ASSERT_TRUE(writer.ok()) << writer.status();
  const Finished run = RunBlazon({"index", "add", "--collection", Path("busy"), Path("documents")});
  EXPECT_EQ(run.status, 1);
  EXPECT_TRUE(absl::StrContains(run.errors, std::to_string(getpid()))) << run.errors;
}

TEST_F(CliTest, HelpIsForNewcomers) {
  for (const char* command : {"caption", "ask", "generate", "chat", "index", "embed", "score", "tokenize", "train",
                              "eval", "models", "serve", "health"}) {
    const Finished help = RunBlazon({command, "--help"});
    EXPECT_EQ(help.status, 0) << command;
    if (const std::string name = command; name != "train" && name != "eval") {
      EXPECT_TRUE(absl::StrContains(help.output, "Example")) << command;
    }
  }
  EXPECT_TRUE(absl::StrContains(RunBlazon({"--help"}).output, "Exit status"));
}

// A PNG whose header says 32768 x 32768.
std::string HugePicture() {
  const unsigned char header[] = {0x89, 'P',  'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R', 0,
                                  0,    0x80, 0,   0,   0,    0x80, 0,    8,    2, 0, 0, 0,  0,   0,   0,   0};
  return std::string(reinterpret_cast<const char*>(header), sizeof header) + std::string(1000, '\0');
}

TEST_F(CliTest, WrongUseSaysWhat) {
  const std::string empty = Write("empty.png", ""), huge = Write("huge.png", HugePicture()),
                    text = Write("text.png", "just text");
  const std::string broken = Write("broken.gguf", "GGUF\x03" + std::string(3, '\0') + std::string(16, '\xff'));
  const std::string prompt(5 << 20, 'a');
  std::string many_words;
  for (int i = 0; i < 300; ++i) many_words += "word ";
  struct Case {
    std::vector<std::string> arguments;
    int status;
    std::string says;  // a regular expression, in standard error
    std::string input;
  };
  const std::vector<Case> cases = {
      {{}, 2, "subcommand", ""},
      {{"fly"}, 2, "fly|subcommand", ""},
      {{"generate"}, 2, "prompt", ""},
      {{"generate", "--no-such-option", "x"}, 2, "no-such-option", ""},
      {{"generate", ""}, 1, "empty", ""},
      {{"index", "search", "--collection", Path("notes"), "--filter", "year => 2", "x"},
       2,
       "the filter has .*byte 6",
       ""},
      {{"index", "eval", "--collection", Path("notes"), "--queries", text, "--qrels", text}, 1, "text.png: line 1", ""},
      {{"index", "eval", "--collection", Path("notes")}, 2, "--questions", ""},
      {{"index", "eval", "--collection", Path("notes"), "--queries", text}, 2, "go together|--qrels", ""},
      {{"index", "eval", "--collection", Path("notes"), "--questions", "-"}, 1, "line 2 has 1 fields", "a\tb\tc\nd\n"},
      {{"index", "eval", "--collection", Path("notes"), "--questions", "-"}, 1, "no question", ""},
      {{"index", "eval", "--collection", Path("notes"), "--questions", "-", "--keep", "--extractive"}, 2, "--keep", ""},
      {{"index", "eval", "--collection", Path("notes"), "--queries", text, "--qrels", text, "--keep"}, 2, "--keep", ""},
      {{"ask", "--collection", Path("notes"), "--refuse-below", "1.5", "Why?"}, 1, "refuse_below", ""},
      {{"index", "search", "--collection", Path("notes"), "--neighbours", "9", "x"}, 2, "neighbours", ""},
      {{"index", "search", "--collection", Path("notes"), "--word-weight", "2", "x"}, 1, "word_weight", ""},
      {{"generate", "-"}, 1, "limit", prompt},
      {{"generate", "--max-new-tokens", "0", "x"}, 2, "max_new_tokens", ""},
      {{"generate", "--temperature", "11", "x"}, 2, "temperature", ""},
      {{"generate", "--temperature", "0.001", "x"}, 2, "temperature", ""},
      {{"generate", "--top-k", "-1", "x"}, 2, "top_k", ""},
      {{"generate", "--top-p", "0", "x"}, 2, "top_p", ""},
      {{"generate", "--top-p", "1.5", "x"}, 2, "top_p", ""},
      {{"generate", "--min-p", "1", "x"}, 2, "min_p", ""},
      {{"generate", "--repetition-penalty", "0", "x"}, 2, "repetition_penalty", ""},
      {{"generate", "--presence-penalty", "3", "x"}, 2, "presence_penalty", ""},
      {{"generate", "--frequency-penalty", "-3", "x"}, 2, "frequency_penalty", ""},
      {{"generate", "--no-repeat-ngram-size", "65", "x"}, 2, "no_repeat_ngram_size", ""},
      {{"generate", "--top-logprobs", "21", "x"}, 2, "top_logprobs", ""},
      {{"generate", "--stop", std::string(257, 's'), "x"}, 2, "stop", ""},
      {{"generate", "--top-k", "60000", "x"}, 1, "top_k", ""},
      {{"generate", "--stop-token-ids", "60000", "x"}, 1, "stop_token_ids", ""},
      {{"generate", "--temperature", "warm", "x"}, 2, "temperature", ""},
      {{"generate", "--num-beams", "4", "--temperature", "1", "x"}, 2, "num_beams.*temperature", ""},
      {{"generate", "--num-beams", "17", "x"}, 1, "num_beams is 17; at most 16", ""},
      {{"generate", "--num-sequences", "2", "x"}, 2, "num_sequences.*temperature", ""},
      {{"generate", "--length-penalty", "2", "x"}, 2, "length_penalty.*num_beams", ""},
      {{"generate", "--early-stopping", "maybe", "x"}, 2, "early-stopping", ""},
      {{"generate", "--typical-p", "0", "x"}, 2, "typical_p", ""},
      {{"generate", "--logit-bias", "198", "x"}, 2, "198.*ID=BIAS", ""},
      {{"generate", "--logit-bias", "198=101", "x"}, 2, "logit_bias", ""},
      {{"generate", "--token-ids", "12 and 13"}, 2, "and.*not a token id", ""},
      {{"generate", "--token-ids", "12,,13"}, 2, "missing", ""},
      {{"generate", "--token-ids", "49152"}, 1, "49152.*49151", ""},
      {{"generate", "--token-ids", "--chat", "12"}, 2, "token-ids", ""},
      {{"caption", "--echo", "x"}, 2, "echo", ""},
      {{"generate", "--dtype", "int3", "x"}, 2, "dtype", ""},
      {{"generate", "--device", "cuda:99", "x"}, 1, "[CG]PU", ""},
      {{"generate", "--device", "cuda:-1", "x"}, 1, "cuda:-1.*cuda:N", ""},
      {{"train", "gpt", "--device", "cuda", "--data", "x", "--out", "y"}, 2, "on the CPU", ""},
      {{"generate", "--device", "abacus", "x"}, 1, "abacus", ""},
      {{"generate", "--models", Path("nowhere"), "x"}, 1, "nowhere.*make setup", ""},
      {{"generate", "--model", Path("nowhere.gguf"), "x"}, 1, "nowhere.gguf", ""},
      {{"generate", "--model", broken, "x"}, 1, "broken.gguf", ""},
      {{"generate", "--server", "127.0.0.1:1", "x"}, 1, "127.0.0.1:1", ""},
      {{"generate", "--server", "127.0.0.1:1", "--threads", "1", "x"}, 2, "--threads", ""},
      {{"caption"}, 2, "give pictures", ""},
      {{"caption", Path("missing.png")}, 1, "missing.png", ""},
      {{"caption", kSource}, 1, "folder", ""},
      {{"caption", empty}, 1, "empty", ""},
      {{"caption", text}, 1, "text.png", ""},
      {{"caption", huge}, 1, "32768|32767|pixel", ""},
      {{"caption", "-"}, 1, "standard input", "not a picture"},
      {{"caption", "-r", Path("documents")}, 3, "no pictures", ""},
      {{"ask", "Why?"}, 2, "collection", ""},
      {{"ask", "--collection", Path("nothing here"), "Why?"}, 1, "nothing here", ""},
      {{"ask", "--collection", Path("notes"), " "}, 1, "question", ""},
      {{"ask", "--collection", Path("notes"), "--count", "51", "Why?"}, 1, "count", ""},
      {{"ask", "--collection", Path("notes"), "--image", Path("missing.jpg"), "Why?"}, 1, "missing.jpg", ""},
      {{"ask", "--collection", Path("notes"), "--context-tokens", "3", "Why?"}, 1, "context_tokens", ""},
      {{"index", "add", "--collection", Path("notes"), Path("missing.md")}, 1, "missing.md", ""},
      {{"index", "add", "--collection", Path("notes")}, 2, "files or folders", ""},
      {{"index", "list", "--collection", Path("nothing here")}, 1, "nothing here", ""},
      {{"index", "search", "--collection", Path("notes"), "--count", "0", "x"}, 1, "count", ""},
      {{"embed", ""}, 1, "empty", ""},
      {{"embed", many_words}, 1, "256", ""},
      {{"score", "--completion", ""}, 1, "completion", ""},
      {{"tokenize", "--decode", "one"}, 2, "one", ""},
      {{"tokenize", "--decode", "60000"}, 1, "60000", ""},
      {{"serve"}, 2, "data", ""},
      {{"health"}, 2, "--server", ""},
      {{"train", "captioner", "--output", Path("c.safetensors"), "--library", "stamps"}, 2, "NAME=DIR", ""},
      {{"generate", "--config", Path("nowhere.toml"), "x"}, 2, "nowhere.toml", ""},
  };
  const std::regex leak("0x[0-9a-f]{6,}|std::|c10::|absl::|terminate|what\\(\\)|/torch/");
  for (const Case& c : cases) {
    std::string line = "blazon";
    for (const std::string& argument : c.arguments) line += " '" + argument.substr(0, 60) + "'";
    const Finished run = RunBlazon(c.arguments, c.input);
    EXPECT_EQ(run.status, c.status) << line << "\n" << run.errors;
    EXPECT_TRUE(std::regex_search(run.errors, std::regex(c.says))) << line << "\n" << run.errors;
    EXPECT_FALSE(std::regex_search(run.errors, leak)) << line << "\n" << run.errors;
    EXPECT_LT(run.errors.size(), 2000u) << line;
  }
}

}  // namespace
}  // namespace blazon::service
