// Loads a model, continues a prompt and prints the text as it comes.
//   build/release/hello model.gguf "The capital of France is"
#include <iostream>

#include "carat/engine.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: hello MODEL.gguf PROMPT\n";
    return 2;
  }
  try {
    const auto engine = carat::Engine::load(argv[1]);
    carat::Session session(*engine);

    carat::GenerateOptions options;
    options.max_tokens = 64;
    options.on_text = [](const std::string& text) {
      std::cout << text << std::flush;
      return true;  // go on
    };
    const auto prompt = engine->tokenizer().encode(argv[2]);
    const auto result = session.generate(prompt, options);

    std::cout << "\n[" << result.stats.prompt_tokens << " tokens read, "
              << result.stats.generated_tokens << " written, "
              << result.stats.decode_tokens_per_s() << " tokens/s]\n";
  } catch (const carat::Error& error) {
    std::cerr << "hello: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
