#include "language/jinja/expression_parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "language/jinja/filters.h"
#include "language/jinja/tests.h"

namespace blazon::language::jinja {

using Kind = Expression::Kind;

ExpressionPtr ExpressionParser::Make(Kind kind, Position position, std::string name) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->position = position;
  node->name = std::move(name);
  return node;
}

ExpressionPtr ExpressionParser::Done(ExpressionPtr node) {
  const auto note = [&](const ExpressionPtr& child) {
    if (child != nullptr) node->height = std::max(node->height, child->height + 1);
  };
  for (const ExpressionPtr& child : node->children) note(child);
  for (const ExpressionPtr& argument : node->arguments.positional) note(argument);
  for (const auto& [name, argument] : node->arguments.named) note(argument);
  if (node->height > kMaxHeight) {
    tokens_.FailAt(node->position, absl::StrCat("an expression nests deeper than ", kMaxHeight, " levels"));
  }
  return node;
}

ExpressionPtr ExpressionParser::Binary(Kind kind, std::string name, ExpressionPtr left, ExpressionPtr right,
                                       Position position) {
  ExpressionPtr node = Make(kind, position, std::move(name));
  node->children.push_back(std::move(left));
  node->children.push_back(std::move(right));
  return Done(std::move(node));
}

ExpressionPtr ExpressionParser::Conditional() {
  ExpressionPtr then = Or();
  while (tokens_.AtName("if")) {
    ExpressionPtr node = Make(Kind::kConditional, tokens_.current().position);
    tokens_.Advance();
    node->children.push_back(Or());
    node->children.push_back(std::move(then));
    if (tokens_.AcceptName("else")) {
      if (++depth_ > kMaxHeight) tokens_.Fail("an expression nests too deep");
      node->children.push_back(Conditional());
      --depth_;
    } else {
      node->children.push_back(nullptr);
    }
    then = Done(std::move(node));
  }
  return then;
}

ExpressionPtr ExpressionParser::Or() {
  ExpressionPtr left = And();
  while (tokens_.AtName("or")) {
    const Position position = tokens_.current().position;
    tokens_.Advance();
    left = Binary(Kind::kOr, "or", std::move(left), And(), position);
  }
  return left;
}

ExpressionPtr ExpressionParser::And() {
  ExpressionPtr left = Not();
  while (tokens_.AtName("and")) {
    const Position position = tokens_.current().position;
    tokens_.Advance();
    left = Binary(Kind::kAnd, "and", std::move(left), Not(), position);
  }
  return left;
}

ExpressionPtr ExpressionParser::Not() {
  if (!tokens_.AtName("not")) return Compare();
  ExpressionPtr node = Make(Kind::kUnary, tokens_.current().position, "not");
  tokens_.Advance();
  if (++depth_ > kMaxHeight) tokens_.Fail("an expression nests too deep");
  node->children.push_back(Not());
  --depth_;
  return Done(std::move(node));
}

ExpressionPtr ExpressionParser::Compare() {
  ExpressionPtr first = Sum();
  ExpressionPtr node;
  for (;;) {
    std::string name;
    const Position position = tokens_.current().position;
    for (const std::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (tokens_.AtOperator(op)) name = op;
    }
    if (tokens_.AtName("in")) name = "in";
    if (tokens_.AtName("not") && tokens_.following().kind == TokenKind::kName && tokens_.following().text == "in") {
      name = "not in";
      tokens_.Advance();
    }
    if (name.empty()) break;
    tokens_.Advance();
    if (node == nullptr) {
      node = Make(Kind::kCompare, position);
      node->children.push_back(std::move(first));
    }
    node->operators.push_back(name);
    node->children.push_back(Sum());
  }
  return node == nullptr ? std::move(first) : Done(std::move(node));
}

ExpressionPtr ExpressionParser::Sum() {
  ExpressionPtr left = Concatenation();
  while (tokens_.AtOperator("+") || tokens_.AtOperator("-")) {
    const Token op = tokens_.current();
    tokens_.Advance();
    left = Binary(Kind::kBinary, op.text, std::move(left), Concatenation(), op.position);
  }
  return left;
}

ExpressionPtr ExpressionParser::Concatenation() {
  ExpressionPtr first = Product();
  if (!tokens_.AtOperator("~")) return first;
  ExpressionPtr node = Make(Kind::kConcatenate, tokens_.current().position);
  node->children.push_back(std::move(first));
  while (tokens_.AcceptOperator("~")) node->children.push_back(Product());
  return Done(std::move(node));
}

ExpressionPtr ExpressionParser::Product() {
  ExpressionPtr left = Power();
  while (tokens_.AtOperator("*") || tokens_.AtOperator("/") || tokens_.AtOperator("//") || tokens_.AtOperator("%")) {
    const Token op = tokens_.current();
    tokens_.Advance();
    left = Binary(Kind::kBinary, op.text, std::move(left), Power(), op.position);
  }
  return left;
}

// From left to right, as Jinja has it.
ExpressionPtr ExpressionParser::Power() {
  ExpressionPtr left = Unary();
  while (tokens_.AtOperator("**")) {
    const Position position = tokens_.current().position;
    tokens_.Advance();
    left = Binary(Kind::kBinary, "**", std::move(left), Unary(), position);
  }
  return left;
}

ExpressionPtr ExpressionParser::Unary(bool with_filters) {
  ExpressionPtr node;
  if (tokens_.AtOperator("-") || tokens_.AtOperator("+")) {
    node = Make(Kind::kUnary, tokens_.current().position, tokens_.current().text);
    tokens_.Advance();
    if (++depth_ > kMaxHeight) tokens_.Fail("an expression nests too deep");
    node->children.push_back(Unary(false));
    --depth_;
    node = Done(std::move(node));
  } else {
    node = Primary();
  }
  node = Postfix(std::move(node));
  return with_filters ? FiltersAndTests(std::move(node)) : std::move(node);
}

ExpressionPtr ExpressionParser::Primary() {
  const Token token = tokens_.current();
  ExpressionPtr node = Make(Kind::kLiteral, token.position);
  if (++depth_ > kMaxHeight) tokens_.Fail("an expression nests too deep");
  if (token.kind == TokenKind::kName) {
    tokens_.Advance();
    if (token.text == "true" || token.text == "True") {
      node->literal = true;
    } else if (token.text == "false" || token.text == "False") {
      node->literal = false;
    } else if (token.text == "none" || token.text == "None") {
      node->literal = None{};
    } else {
      node->kind = Kind::kName;
      node->name = token.text;
      for (const std::string_view hidden : {"varargs", "kwargs", "caller", "self", "super"}) {
        if (token.text == hidden) tokens_.Refuse(token.position, absl::StrCat("the name '", token.text, "'"));
      }
    }
  } else if (token.kind == TokenKind::kString) {
    std::string text;
    while (tokens_.At(TokenKind::kString)) {
      text += tokens_.current().text;
      tokens_.Advance();
    }
    node->literal = Value::String(text);
  } else if (token.kind == TokenKind::kInteger) {
    tokens_.Advance();
    node->literal = token.integer;
  } else if (token.kind == TokenKind::kFloat) {
    tokens_.Advance();
    node->literal = token.number;
  } else if (tokens_.AcceptOperator("(")) {
    node = TupleOrOne(true, /*may_be_empty=*/true);
    tokens_.ExpectOperator(")");
  } else if (tokens_.AtOperator("[")) {
    node = List();
  } else if (tokens_.AtOperator("{")) {
    node = Dict();
  } else {
    tokens_.Fail(absl::StrCat("expected an expression, found ", tokens_.Found()));
  }
  --depth_;
  return node;
}

ExpressionPtr ExpressionParser::TupleOrOne(bool with_condition, bool may_be_empty) {
  const Position position = tokens_.current().position;
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  const auto ends = [&] {
    return tokens_.At(TokenKind::kOutputEnd) || tokens_.At(TokenKind::kBlockEnd) || tokens_.At(TokenKind::kEnd) ||
           tokens_.AtOperator(")");
  };
  while (!ends()) {
    items.push_back(with_condition ? Conditional() : Or());
    if (!tokens_.AcceptOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !may_be_empty) tokens_.Fail(absl::StrCat("expected an expression, found ", tokens_.Found()));
  ExpressionPtr node = Make(Kind::kTuple, position);
  node->children = std::move(items);
  return Done(std::move(node));
}

ExpressionPtr ExpressionParser::List() {
  ExpressionPtr node = Make(Kind::kList, tokens_.current().position);
  tokens_.ExpectOperator("[");
  while (!tokens_.AtOperator("]") && !tokens_.At(TokenKind::kEnd)) {
    node->children.push_back(Conditional());
    if (!tokens_.AtOperator("]")) tokens_.ExpectOperator(",");
  }
  tokens_.ExpectOperator("]");
  return Done(std::move(node));
}

ExpressionPtr ExpressionParser::Dict() {
  ExpressionPtr node = Make(Kind::kDict, tokens_.current().position);
  tokens_.ExpectOperator("{");
  while (!tokens_.AtOperator("}") && !tokens_.At(TokenKind::kEnd)) {
    node->children.push_back(Conditional());
    tokens_.ExpectOperator(":");
    node->children.push_back(Conditional());
    if (!tokens_.AtOperator("}")) tokens_.ExpectOperator(",");
  }
  tokens_.ExpectOperator("}");
  return Done(std::move(node));
}

ExpressionPtr ExpressionParser::Postfix(ExpressionPtr node) {
  for (;;) {
    if (tokens_.AtOperator("(")) {
      node = Call(std::move(node));
    } else if (tokens_.AtOperator(".") || tokens_.AtOperator("[")) {
      const Token token = tokens_.current();
      tokens_.Advance();
      if (token.text == "[") {
        node = Subscript(std::move(node), token.position);
      } else if (tokens_.At(TokenKind::kInteger)) {
        ExpressionPtr key = Make(Kind::kLiteral, tokens_.current().position);
        key->literal = tokens_.current().integer;
        tokens_.Advance();
        node = Binary(Kind::kItem, "", std::move(node), std::move(key), token.position);
      } else {
        ExpressionPtr attribute = Make(Kind::kAttribute, token.position, tokens_.TakeName());
        attribute->children.push_back(std::move(node));
        node = Done(std::move(attribute));
      }
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::Subscript(ExpressionPtr object, Position position) {
  ExpressionPtr parts[3];
  bool is_slice = false;
  int part = 0;
  if (++depth_ > kMaxHeight) tokens_.Fail("an expression nests too deep");
  while (!tokens_.AtOperator("]") && !tokens_.At(TokenKind::kEnd)) {
    if (tokens_.AtOperator(",")) {
      tokens_.Refuse(tokens_.current().position, "a tuple as subscript");
    } else if (tokens_.AcceptOperator(":")) {
      is_slice = true;
      if (++part > 2) {
        tokens_.Fail("a slice has at most two colons");
        break;
      }
    } else if (parts[part] != nullptr) {
      tokens_.ExpectOperator("]");
    } else {
      parts[part] = Conditional();
    }
  }
  --depth_;
  tokens_.ExpectOperator("]");
  if (!is_slice) {
    if (parts[0] == nullptr) tokens_.Refuse(position, "an empty subscript");
    return Binary(Kind::kItem, "", std::move(object), std::move(parts[0]), position);
  }
  ExpressionPtr node = Make(Kind::kSlice, position);
  node->children.push_back(std::move(object));
  for (ExpressionPtr& one : parts) node->children.push_back(std::move(one));
  return Done(std::move(node));
}

ExpressionPtr ExpressionParser::Call(ExpressionPtr callee) {
  ExpressionPtr node = Make(Kind::kCall, tokens_.current().position);
  node->children.push_back(std::move(callee));
  Arguments(&node->arguments);
  return Done(std::move(node));
}

void ExpressionParser::Arguments(CallArguments* arguments) {
  if (++depth_ > kMaxHeight) tokens_.Fail("an expression nests too deep");
  tokens_.ExpectOperator("(");
  while (!tokens_.AtOperator(")") && !tokens_.At(TokenKind::kEnd)) {
    const Position position = tokens_.current().position;
    if (tokens_.AtOperator("*") || tokens_.AtOperator("**")) {
      tokens_.Refuse(position, absl::StrCat("a call with ", tokens_.current().text, "arguments"));
    } else if (tokens_.At(TokenKind::kName) && tokens_.following().kind == TokenKind::kOperator &&
               tokens_.following().text == "=") {
      std::string name = tokens_.TakeName();
      tokens_.Advance();
      for (const auto& [known, value] : arguments->named) {
        if (known == name) tokens_.FailAt(position, absl::StrCat("the argument '", name, "' is given twice"));
      }
      arguments->named.emplace_back(std::move(name), Conditional());
    } else {
      if (!arguments->named.empty()) tokens_.Fail("an argument without a name follows one with a name");
      arguments->positional.push_back(Conditional());
    }
    if (!tokens_.AtOperator(")")) tokens_.ExpectOperator(",");
  }
  tokens_.ExpectOperator(")");
  --depth_;
}

ExpressionPtr ExpressionParser::FiltersAndTests(ExpressionPtr node) {
  for (;;) {
    if (tokens_.AtOperator("|")) {
      node = Filters(std::move(node));
    } else if (tokens_.AtName("is")) {
      node = Test(std::move(node));
    } else if (tokens_.AtOperator("(")) {
      node = Call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::Filters(ExpressionPtr input, bool starts_with_name) {
  while (starts_with_name || tokens_.AcceptOperator("|")) {
    starts_with_name = false;
    const Position position = tokens_.current().position;
    ExpressionPtr node = Make(Kind::kFilter, position, tokens_.TakeName());
    if (!node->name.empty() && !IsFilter(node->name)) {
      tokens_.Refuse(position, absl::StrCat("the filter '", node->name, "'"));
    }
    node->children.push_back(std::move(input));
    if (tokens_.AtOperator("(")) Arguments(&node->arguments);
    input = Done(std::move(node));
  }
  return input;
}

ExpressionPtr ExpressionParser::Test(ExpressionPtr operand) {
  ExpressionPtr node = Make(Kind::kTest, tokens_.current().position);
  const Position position = node->position;
  tokens_.ExpectName("is");
  const bool negated = tokens_.AcceptName("not");
  node->name = tokens_.TakeName();
  if (!node->name.empty() && !IsTest(node->name)) {
    tokens_.Refuse(position, absl::StrCat("the test '", node->name, "'"));
  }
  node->children.push_back(std::move(operand));
  const bool begins_argument =
      (tokens_.At(TokenKind::kName) && !tokens_.AtName("else") && !tokens_.AtName("or") && !tokens_.AtName("and")) ||
      tokens_.At(TokenKind::kString) || tokens_.At(TokenKind::kInteger) || tokens_.At(TokenKind::kFloat) ||
      tokens_.AtOperator("[") || tokens_.AtOperator("{");
  if (tokens_.AtOperator("(")) {
    Arguments(&node->arguments);
  } else if (tokens_.AtName("is")) {
    tokens_.Fail("tests cannot be chained with 'is'");
  } else if (begins_argument) {
    node->arguments.positional.push_back(Postfix(Primary()));
  }
  node = Done(std::move(node));
  if (!negated) return node;
  ExpressionPtr inverse = Make(Kind::kUnary, position, "not");
  inverse->children.push_back(std::move(node));
  return Done(std::move(inverse));
}

}  // namespace blazon::language::jinja
