package redisstore

func workAgent([]string) int { return 2 }
