"""The thread that holds the models: questions in, answers to who asked."""
