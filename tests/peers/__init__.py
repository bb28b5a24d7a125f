"""Networks made of other libraries' neurons, live beside their programs; the libraries are optional."""
