package gridtest
